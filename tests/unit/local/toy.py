"""A toy function for the Lambda tests: does what its event (or its messages' bodies) asks for."""

TOY = """
import os, sys, time

def handler(event, context):
    if "Records" in event:
        return batch(event)
    match event.get("do"):
        case "fail":
            raise ValueError("as asked")
        case "crash":
            os._exit(3)
        case "exit":
            sys.exit(4)
        case "hang":
            time.sleep(3600)
        case "environment":
            return {name: os.environ.get(name) for name in event["names"]}
        case "context":
            return {"left": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn,
                    "id": context.aws_request_id, "name": context.function_name, "pid": os.getpid(),
                    "folder": os.getcwd()}
    return {"got": event}

def batch(event):
    log = os.environ["TOY_LOG"]
    with open(log, "a") as file:
        for record in event["Records"]:
            file.write(record["body"] + " " + record["attributes"]["ApproximateReceiveCount"] + chr(10))
    bodies = {record["body"] for record in event["Records"]}
    if "raise" in bodies:
        raise ValueError("as asked")
    if "crash" in bodies:
        os._exit(3)
    if "nonsense" in bodies:
        return {"batchItemFailures": [{"itemIdentifier": ""}]}
    return {"batchItemFailures": [
        {"itemIdentifier": record["messageId"]} for record in event["Records"] if record["body"].startswith("bad")
    ]}
"""
BROKEN = "raise RuntimeError('cannot be imported')\n"
