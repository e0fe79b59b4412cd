"""The application: pages and JSON API. The only file that imports FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Annotated, Any, get_args

from stemloop import __version__
from stemloop.errors import ExtraError
from stemloop.folding.decoders import Name
from stemloop.tasks.structure_settings import DEFAULT_MODEL, PLAIN_MODELS
from stemloop.web.answers import file_of, job_answer
from stemloop.web.compute import Task
from stemloop.web.engine import Engine, ProcessEngine
from stemloop.web.generate import MakeTask, families
from stemloop.web.guard import Guard
from stemloop.web.jobs import FullError, Job, Jobs
from stemloop.web.limits import Limits
from stemloop.web.requests import RequestError, make_task, offered, read_tasks
from stemloop.web.schema import (
    Family,
    FoldRequest,
    GenerateRequest,
    Info,
    JobAnswer,
    Link,
    Problem,
    Rna,
    first_error,
)

try:
    from fastapi import FastAPI, Path, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import FileResponse, JSONResponse, Response
    from fastapi.staticfiles import StaticFiles
    from starlette.exceptions import HTTPException
except ImportError as error:
    raise ExtraError("fastapi", "web") from error

STATIC = FilePath(__file__).parent / "static"

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

#: Refusals that any request may meet.
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in {
        400: "broken request",
        403: "asked by a page of another site",
        404: "no such thing, or forgotten",
        408: "the request came too slowly",
        413: "too large: bytes, sequences or nucleotides",
        422: "nothing that can be computed; the RNA at fault is named",
        503: "the queue is full: see Retry-After",
    }.items()
}

_JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_Wait = Annotated[float, Query(ge=0, le=600, description="seconds to wait for results")]


def create_app(
    limits: Limits | None = None,
    *,
    engine: Engine | None = None,
    hosts: tuple[str, ...] | None = LOOPBACK,
    generators: tuple[FilePath, ...] = (),
) -> FastAPI:
    """The application.

    Parameters
    ----------
    limits : Limits, optional
        What a user may ask for.
    engine : Engine, optional
        What computes; a process of its own unless given.
    hosts : tuple of str, optional
        Names that the server may be called by; any with none.
    generators : tuple of pathlib.Path
        Folders of generators beside those that ship.

    Examples
    --------
    >>> app = create_app(Limits(rnas=10))
    >>> sorted(path for path in app.openapi()["paths"])[0]
    '/api/fold'
    """
    bounds = limits or Limits()

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        used = engine or ProcessEngine()
        if isinstance(used, ProcessEngine):
            # The models load while the first user is still looking at the page.
            used.start()
        app.state.jobs = Jobs(used, bounds)
        try:
            yield
        finally:
            await asyncio.to_thread(app.state.jobs.close)

    app = FastAPI(
        title="stemloop", version=__version__, lifespan=life, docs_url=None, redoc_url=None,
        responses=_REFUSALS,
    )  # fmt: skip
    app.add_middleware(Guard, limits=bounds, hosts=hosts)
    _errors(app)
    _pages(app)
    _api(app, bounds, generators)
    return app


def _errors(app: FastAPI) -> None:
    """Every refusal has the same shape."""

    @app.exception_handler(RequestError)
    async def refused(request: Request, error: RequestError) -> JSONResponse:
        return _problem(error.status, error.message, error.record)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _problem(422, first_error(error.errors()))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(FullError)
    async def full(request: Request, error: FullError) -> JSONResponse:
        return _problem(503, str(error), headers={"Retry-After": str(error.seconds)})


def _problem(
    status: int, text: str, record: str | None = None, headers: Any = None
) -> JSONResponse:
    # Messages quote what was sent: not more of it than can be read.
    shown = text if len(text) <= 500 else text[:500] + "..."
    name = record if record is None or len(record) <= 200 else record[:200] + "..."
    return JSONResponse({"error": shown, "record": name}, status, headers)


def _pages(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(STATIC / "docs.html")


def _api(app: FastAPI, limits: Limits, generators: tuple[FilePath, ...]) -> None:
    def jobs() -> Jobs:
        found: Jobs = app.state.jobs
        return found

    def find(id: str) -> Job:
        job = jobs().get(id)
        if job is None:
            raise HTTPException(404, "no such job, or its results were dropped")
        return job

    def answer(job: Job, start: int = 0, status: int = 200) -> Response:
        headers = {"Location": f"/api/jobs/{job.id}"}
        body = job_answer(job, jobs().ahead(job), start)
        return Response(body, status, headers, media_type="application/json")

    async def compute(request: Request, wanted: FoldRequest, wait: float) -> Response:
        # Reading and checking a long input takes a while; others are answered meanwhile.
        return await run(request, await asyncio.to_thread(read_tasks, wanted, limits), wait)

    async def run(request: Request, tasks: Sequence[Task | MakeTask], wait: float) -> Response:
        job = jobs().submit(tasks)
        await _finish(request, jobs(), job, min(wait, limits.wait_seconds))
        return answer(job, status=200 if job.finished.done() else 202)

    accepted: dict[int | str, dict[str, Any]] = {
        202: {"model": JobAnswer, "description": "not done yet: ask for the job"}
    }

    @app.post("/api/fold", response_model=JobAnswer, responses=accepted)
    async def fold(
        request: Request,
        wanted: FoldRequest,
        wait: _Wait = 30,
    ) -> Response:
        """Compute structures, classes or both of RNAs.

        Answers with the results, or after `wait` seconds with the job and the results so far.
        """
        return await compute(request, wanted, wait)

    @app.get("/api/fold", response_model=JobAnswer, responses=accepted)
    async def fold_one(request: Request, wanted: Annotated[Link, Query()]) -> Response:
        """Compute one RNA: an address that can be kept and passed on."""
        options = wanted.model_dump(exclude={"id", "sequence", "constraint", "wait"})
        rna = Rna(id=wanted.id, sequence=wanted.sequence, constraint=wanted.constraint)
        return await compute(request, FoldRequest(sequences=[rna], **options), wanted.wait)

    @app.post("/api/generate", response_model=JobAnswer, responses=accepted)
    async def generate(
        request: Request,
        wanted: GenerateRequest,
        wait: _Wait = 30,
    ) -> Response:
        """Make sequences of a family."""
        task = await asyncio.to_thread(make_task, wanted, generators, limits)
        return await run(request, [task], wait)

    @app.get("/api/jobs/{id}", response_model=JobAnswer)
    async def job(
        id: _JobId,
        start: Annotated[
            int, Query(alias="from", ge=0, le=1_000_000, description="`next` of the last answer")
        ] = 0,
    ) -> Response:
        """How far a job is, with the results that came since."""
        return answer(find(id), start)

    @app.delete("/api/jobs/{id}", response_model=JobAnswer)
    async def cancel(id: _JobId) -> Response:
        """Cancel a job; what is computed already stays."""
        job = find(id)
        jobs().cancel(job)
        return answer(job)

    @app.get(
        "/api/jobs/{id}/files/{name}",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "the file"}},
    )
    def file(
        id: _JobId,
        name: Annotated[
            str,
            Path(
                pattern=r"^([0-9]{1,7}\.(dbn|ct|bpseq|svg|arcs\.svg|csv|mutations\.csv|json|fa)"
                r"|all\.(dbn|ct|bpseq|csv|mutations\.csv|json)|table\.csv)$"
            ),
        ],
    ) -> Response:
        """Download one RNA (by its index, ``0.dbn``), all, or a table of them (``table.csv``)."""
        found = file_of(find(id), name)
        if found is None:
            raise HTTPException(404, f"this job has no {name}")
        filename, kind, text = found
        headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
        return Response(text, headers=headers, media_type=kind)

    @app.get("/api/info", response_model=Info)
    async def info() -> Info:
        """Models, decoders, limits and an example."""
        return Info(
            version=__version__,
            compute=list(offered()),
            models=[DEFAULT_MODEL, *PLAIN_MODELS],
            decoders=list(get_args(Name)),
            families=[
                Family(name=name, labels=labels)
                for name, (_, labels) in families(generators).items()
            ],
            limits={
                name: getattr(limits, name)
                for name in ("body", "rnas", "length", "total", "waiting", "wait_seconds")
            },
            example=(STATIC / "example.fa").read_text(encoding="utf-8"),
        )


async def _finish(request: Request, jobs: Jobs, job: Job, seconds: float) -> None:
    """Wait until a job is finished or the time is over; cancel it if nobody waits any more."""
    end = asyncio.get_running_loop().time() + seconds
    done = asyncio.shield(asyncio.wrap_future(job.finished))
    while not job.finished.done():
        left = end - asyncio.get_running_loop().time()
        if left <= 0:
            return
        await asyncio.wait({done}, timeout=min(left, 0.5))
        if not job.finished.done() and await request.is_disconnected():
            jobs.cancel(job)
            return
