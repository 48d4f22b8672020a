"""How long the oldest message of a queue has waited: only CloudWatch knows."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from relay.aws.client import AwsClient
from relay.errors import TemporaryError

MINUTE: Final = 60
LOOK_BACK: Final = timedelta(minutes=15)  # SQS's metrics come up to some minutes late
POINT: Final = re.compile(rb"<member>(.*?)</member>", re.DOTALL)
FIELD: Final = re.compile(rb"<(Timestamp|Maximum)>([^<]{1,40})</")


async def oldest_age(client: AwsClient, url: str, now: float) -> float | None:
    """Seconds, as of the last minute that CloudWatch knows; None if it knows none or may not be asked.

    url: the queue's. A queue that is asked about for the first time in hours has no metrics (AWS: SQS guide,
    "Available CloudWatch metrics").
    """
    end = datetime.fromtimestamp(now, UTC)
    parameters = {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions.member.1.Name": "QueueName",
        "Dimensions.member.1.Value": url.rpartition("/")[2],
        "Statistics.member.1": "Maximum",
        "Period": str(MINUTE),
        "StartTime": (end - LOOK_BACK).isoformat(timespec="seconds"),
        "EndTime": end.isoformat(timespec="seconds"),
    }
    try:
        answer = await client.query("monitoring", "GetMetricStatistics", parameters)
    except TemporaryError:  # not allowed, or away: an extra of `status`, which does without
        return None
    points = [dict(FIELD.findall(point)) for point in POINT.findall(answer)]
    known = [(each[b"Timestamp"], each[b"Maximum"]) for each in points if len(each) == 2]
    try:
        return float(max(known)[1]) if known else None
    except ValueError:
        return None
