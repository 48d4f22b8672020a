"""ministack, with what it gets wrong put right. Runs in an environment of its own.

A mapping's MaximumConcurrency that comes from a parameter is text there, and no number as in AWS: its poller then fails
on every pass.
"""

import runpy
from typing import Any

from ministack.services import lambda_svc

inner = lambda_svc._sqs_esm_concurrency


def concurrency(esm: dict[str, Any], *rest: Any) -> Any:
    scaling = esm.get("ScalingConfig") or {}
    if isinstance(scaling.get("MaximumConcurrency"), str):
        scaling["MaximumConcurrency"] = int(scaling["MaximumConcurrency"])
    return inner(esm, *rest)


lambda_svc._sqs_esm_concurrency = concurrency
runpy.run_module("ministack", run_name="__main__", alter_sys=True)
