"""Whatever fits the OpenAPI description, or does not, gets an answer that fits it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from stemloop.web.app import create_app
from stemloop.web.limits import Limits


def test_answers_fit_the_description(engine) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        schemathesis.checks.not_a_server_error, status_code_conformance,
        content_type_conformance, response_schema_conformance, negative_data_rejection,
    ]  # fmt: skip
    # The client of schemathesis has a host name of its own.
    app = create_app(Limits(waiting=1000), engine=engine, hosts=None)
    with TestClient(app):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) == 7
        for operation in operations:
            fit = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
            unfit = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
            # /api/info takes nothing that could be wrong.
            takes = bool(list(operation.iter_parameters()) or operation.body)

            @given(case=st.one_of(fit, unfit) if takes else fit)
            @settings(
                max_examples=15, derandomize=True, deadline=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def answers_fit(case) -> None:
                case.call_and_validate(checks=checks)

            answers_fit()
        # Of random text hardly anything is an RNA.
        body = {"fasta": ">x\nACGU\n", "compute": ["class"]}
        operations[0].Case(body=body, media_type="application/json").call_and_validate(
            checks=checks
        )
        operations[1].Case(query={"sequence": "ACGU", "id": "y"}).call_and_validate(checks=checks)
    assert engine.seen[-2:] == ["x", "y"]
