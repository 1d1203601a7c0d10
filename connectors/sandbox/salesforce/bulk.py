"""Bulk API 2.0 query jobs: started, asked about until they are done, read a page of CSV at a time.

A job is UploadComplete when it is made, InProgress when first asked about, and done when asked again. Its results are what
the query meant when it was made; they are kept seven days. No subqueries, no counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from connectors.sandbox.salesforce import asking, soql
from connectors.sandbox.salesforce.errors import bad_json, error, not_found
from connectors.sandbox.salesforce.org import Org
from connectors.sandbox.salesforce.values import in_csv, shown

_KEPT = timedelta(days=7)
_STATES = ("UploadComplete", "InProgress", "JobComplete")


class Job(msgspec.Struct):
    id: str
    query: str
    operation: str
    made: datetime
    columns: list[str]
    rows: list[list[str]]
    state: str = "UploadComplete"


class Jobs:
    """One org's. `failing` makes the next jobs end in Failed."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self.all: dict[str, Job] = {}
        self.failing = False

    def answer(
        self, method: str, path: Sequence[str], query: Mapping[str, list[str]], body: Any, now: datetime, version: str
    ) -> tuple[int, bytes | Any, Mapping[str, str]]:
        """Requests below /jobs/query. Raises `Refusal`."""
        match method, *path:
            case ("POST",):
                return 200, self._told(self._make(body, now), version), {}
            case "GET", id:
                job = self._job(id, now)
                told = self._told(job, version)
                step = _STATES.index(job.state) if job.state in _STATES else None
                if step is not None and step + 1 < len(_STATES):
                    job.state = "Failed" if self.failing else _STATES[step + 1]
                return 200, told, {}
            case "GET", id, "results":
                return self._results(self._job(id, now), query)
            case "PATCH", id:
                self._job(id, now).state = "Aborted"
                return 200, self._told(self.all[id], version), {}
            case "DELETE", id:
                del self.all[self._job(id, now).id]
                return 204, None, {}
            case _:
                raise not_found()

    def _make(self, body: Any, now: datetime) -> Job:
        if not isinstance(body, dict) or body.get("operation") not in ("query", "queryAll"):
            raise bad_json("operation must be query or queryAll")
        parsed = soql.parse(str(body.get("query", "")))
        if not parsed.fields or any(isinstance(item, soql.Query) for item in parsed.fields):
            raise error(400, "INVALIDJOB", "Aggregate queries and subqueries are not supported")
        columns = asking.columns(self._org, parsed)
        rows = asking.records(self._org, parsed, deleted=body["operation"] == "queryAll")
        cells = [
            [_cell(record, name) for name in columns] for record in asking.show(self._org, parsed, rows, version="66.0")
        ]
        job = Job(f"750gw{len(self.all):010d}AAA", str(body["query"]), str(body["operation"]), now, columns, cells)
        self.all[job.id] = job
        return job

    def _job(self, id: str, now: datetime) -> Job:
        job = self.all.get(id)
        if job is None or job.made + _KEPT <= now:
            raise not_found()
        return job

    def _told(self, job: Job, version: str) -> dict[str, Any]:
        return {
            "id": job.id,
            "operation": job.operation,
            "object": soql.parse(job.query).of,
            "createdById": self._org.user,
            "createdDate": shown(job.made),
            "systemModstamp": shown(job.made),
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(version),
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
            **({"numberRecordsProcessed": len(job.rows), "retries": 0} if job.state == "JobComplete" else {}),
        }

    def _results(self, job: Job, query: Mapping[str, list[str]]) -> tuple[int, bytes, Mapping[str, str]]:
        if job.state != "JobComplete":
            raise error(400, "INVALIDJOBSTATE", "The job is not complete")
        start = _number(query, "locator", 0)
        most = _number(query, "maxRecords", 50_000)
        rows = job.rows[start : start + most]
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(job.columns)
        writer.writerows(rows)
        after = start + most
        headers = {
            "Sforce-Locator": str(after) if after < len(job.rows) else "null",
            "Sforce-NumberOfRecords": str(len(rows)),
            "Content-Type": "text/csv;charset=UTF-8",
        }
        return 200, text.getvalue().encode(), headers


def _number(query: Mapping[str, list[str]], name: str, default: int) -> int:
    text = (query.get(name) or [""])[-1]
    if text and not text.isdigit():
        raise error(400, "INVALIDLOCATOR", f"{name} is not valid")
    return int(text) if text else default


def _cell(record: Mapping[str, Any], path: str) -> str:
    here: Any = record
    for step in path.split("."):
        here = here.get(step) if isinstance(here, Mapping) else None
    if isinstance(here, str) and here.endswith(".000+0000"):
        return here.removesuffix("+0000") + "Z"
    return in_csv(here)
