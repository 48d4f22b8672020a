"""From a created stack to running functions: what local.lambdas and local.mappings need of it."""

from collections.abc import Mapping as Dict
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from local import clocks
from local.lambdas import Function, LambdaService
from local.mappings import Mapping, Poller
from local.processes import StartError, base_environment
from local.stack import CREDENTIALS, ROOT, Aws, Stack

WORKERS: Final = 4  # of each function for its queue at most, whatever the template allows: one machine
MORE_WORKERS: Final = 4  # for who calls it directly: the gateway doesn't wait for a backlog
LAYER: Final = ROOT / "layers" / "relay"


def functions(aws: Aws, stack: Stack, speed: float) -> list[Function]:
    """The stack's functions, by what Lambda says of them. StartError for one that can't run here."""
    return [_function(aws, stack, title, name, speed) for title, name in stack.of_type("AWS::Lambda::Function").items()]


def _function(aws: Aws, stack: Stack, title: str, name: str, speed: float) -> Function:
    configuration = aws.client("lambda").get_function_configuration(FunctionName=name)
    if title not in stack.folders:
        raise StartError(f"{title}: its code is in no folder of this project")
    folder = stack.folders[title]
    variables = configuration.get("Environment", {}).get("Variables", {})
    environment = {
        **base_environment(),
        **{variable: str(value) for variable, value in variables.items()},  # moto leaves numbers numbers
        **CREDENTIALS,
        "AWS_ACCESS_KEY_ID": title,  # so that an endpoint can tell who calls; moto takes any
        "AWS_REGION": aws.region,
        "AWS_DEFAULT_REGION": aws.region,
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{configuration['Runtime']}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(configuration["MemorySize"]),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "LAMBDA_TASK_ROOT": str(folder),
        "PYTHONPATH": f"{folder}:{LAYER}",
        "TZ": ":UTC",
        "_HANDLER": configuration["Handler"],
    }
    return Function(
        name=name,
        title=title,
        handler=configuration["Handler"],
        folder=folder,
        timeout=clocks.timeout(configuration["Timeout"], speed),
        environment=environment,
        arn=configuration["FunctionArn"],
    )


def start_functions(service: LambdaService, found: list[Function]) -> None:
    """One worker each, all ready. StartError if one's code can't be loaded."""
    pools = [service.add(function, WORKERS + MORE_WORKERS) for function in found]
    with ThreadPoolExecutor(len(pools)) as threads:
        for started in [threads.submit(pool.warm) for pool in pools]:
            started.result()


def mappings(aws: Aws, stack: Stack, speed: float) -> list[Mapping]:
    """The stack's event source mappings from queues, read out of it."""
    ours = set(stack.of_type("AWS::Lambda::EventSourceMapping").values())
    urls = {url.rpartition("/")[2]: url for url in stack.of_type("AWS::SQS::Queue").values()}
    pages = aws.client("lambda").get_paginator("list_event_source_mappings").paginate()
    return [
        _mapping(aws, found, urls, speed)
        for page in pages
        for found in page["EventSourceMappings"]
        if found["UUID"] in ours
    ]


def _mapping(aws: Aws, found: Dict[str, Any], urls: Dict[str, str], speed: float) -> Mapping:
    url = urls[found["EventSourceArn"].rpartition(":")[2]]
    names = ["VisibilityTimeout"]
    seconds = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"][names[0]]
    return Mapping(
        queue_url=url,
        queue_arn=found["EventSourceArn"],
        function=found["FunctionArn"].rpartition(":")[2],
        batch_size=found["BatchSize"],
        window=clocks.window(found.get("MaximumBatchingWindowInSeconds", 0), speed),
        concurrency=min(found.get("ScalingConfig", {}).get("MaximumConcurrency", WORKERS), WORKERS),
        visibility=clocks.visibility(float(seconds), speed),
        report_failures="ReportBatchItemFailures" in found.get("FunctionResponseTypes", []),
    )


def start_mappings(aws: Aws, service: LambdaService, found: list[Mapping]) -> list[Poller]:
    pollers = [Poller(mapping, aws.client("sqs"), service.invoke) for mapping in found]
    for poller in pollers:
        poller.start()
    return pollers
