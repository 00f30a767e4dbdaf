"""Batches as arq jobs, in a real Redis."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from arq.worker import Worker, func

from mailer.errors import QueueError
from mailer.model.ledger import Batch, SendId
from mailer.queue.address import QUEUE_NAME, open_client, redis_settings
from mailer.queue.arq_queue import ArqQueue, connect, job_id
from mailer.queue.binary import find_server
from mailer.queue.embedded import EmbeddedRedis
from mailer.queue.serialiser import dumps, loads

pytest_plugins = ("tests.servers.redis",)

SEND = SendId("kw24-1")


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[ArqQueue]:
    queue = connect(redis_url)
    yield queue
    await queue.close()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[ArqRedis]:
    client = open_client(redis_settings(redis_url))
    yield client
    await client.aclose(close_connection_pool=True)


async def work(client: ArqRedis, function: Callable[..., Awaitable[None]], name: str = "deliver") -> None:
    """Runs all jobs that are queued, as arq does."""
    worker = Worker(
        [func(function, name=name)],
        redis_pool=client,
        queue_name=QUEUE_NAME,
        burst=True,
        handle_signals=False,
        keep_result=0,
        poll_delay=0.01,
        job_serializer=dumps,
        job_deserializer=loads,
    )
    await worker.async_run()


async def test_arq_runs_it(queue: ArqQueue, client: ArqRedis) -> None:
    """arq gives a queued batch to the job function, and forgets all about it when it is done."""
    got: list[tuple[str, int, int]] = []

    async def deliver(ctx: object, send: str, first: int, last: int) -> None:
        got.append((send, first, last))

    await queue.enqueue([Batch(SEND, 501, 1000, "0.0")])
    await work(client, deliver)
    assert got == [("kw24-1", 501, 1000)]
    assert [key for key in await client.keys("*") if key.startswith(b"arq:job") or key == QUEUE_NAME.encode()] == []


async def test_queued_once(queue: ArqQueue, client: ArqRedis) -> None:
    """The same batch queued again changes nothing; with another round it is another job."""
    for round_ in ("0.0", "0.0", "0.1", "0.1"):
        await queue.enqueue([Batch(SEND, 1, 500, round_)])
    assert await client.zcard(QUEUE_NAME) == 2


async def test_confirmations(queue: ArqQueue, client: ArqRedis) -> None:
    """A mail that answers a sign-up is a job of its own, queued once however often it is asked for, before a send."""
    got: list[int] = []

    async def confirm(ctx: object, number: int) -> None:
        got.append(number)

    await queue.enqueue([Batch(SEND, 501, 1000, "0.0")])
    for numbers in ([7], [7, 8], []):
        await queue.enqueue_confirmations(numbers)
    assert [name.decode() for name in await client.zrange(QUEUE_NAME, 0, -1)][:2] == ["confirm:7", "confirm:8"]
    assert await client.zrem(QUEUE_NAME, "deliver:kw24-1:501:0.0") == 1
    await work(client, confirm, "confirm")
    assert sorted(got) == [7, 8]
    await queue.enqueue_confirmations([7])
    assert await client.zcard(QUEUE_NAME) == 1


async def test_under_way_isnt_queued(queue: ArqQueue, client: ArqRedis) -> None:
    """A batch whose job runs isn't queued a second time; when the job has ended it can be queued again."""
    runs = 0
    batch = Batch(SEND, 1, 500, "0.0")

    async def deliver(ctx: object, *arguments: object) -> None:
        nonlocal runs
        runs += 1
        await queue.enqueue([batch])

    await queue.enqueue([batch])
    await work(client, deliver)
    assert runs == 1
    await queue.enqueue([batch])
    assert await client.zcard(QUEUE_NAME) == 1


async def test_half_forgotten(queue: ArqQueue, client: ArqRedis) -> None:
    """A job that Redis knows and doesn't have in the queue any more is put back: it would never run."""
    batch = Batch(SEND, 1, 500, "0.0")
    await queue.enqueue([batch])
    await client.zrem(QUEUE_NAME, job_id(batch))
    await queue.enqueue([batch])
    assert await client.zcard(QUEUE_NAME) == 1


async def test_json(queue: ArqQueue, client: ArqRedis) -> None:
    """What lies in Redis is JSON: whoever can write there can't run code in a worker."""
    batch = Batch(SEND, 1, 500, "0.3")
    await queue.enqueue([batch])
    job = json.loads(await client.get(f"arq:job:{job_id(batch)}") or b"")
    assert (job["f"], job["a"]) == ("deliver", ["kw24-1", 1, 500])


async def test_many(queue: ArqQueue, client: ArqRedis) -> None:
    """Two thousand batches are queued, in the order of their positions, the first one before other sends' jobs."""
    await queue.enqueue([Batch(SendId("other"), 501, 1000, "0.0")])
    batches = [Batch(SEND, 1 + 500 * number, 500 + 500 * number, "0.0") for number in range(2000)]
    await queue.enqueue(batches)
    queued = [name.decode() for name in await client.zrange(QUEUE_NAME, 0, -1)]
    assert len(queued) == 2001
    assert queued[0] == job_id(batches[0])


async def test_flushed(queue: ArqQueue, client: ArqRedis) -> None:
    """After FLUSHALL and after the loss of all scripts, the same queue object goes on."""
    await queue.enqueue([Batch(SEND, 1, 500, "0.0")])
    await client.flushall()
    await client.script_flush()
    await queue.enqueue([Batch(SEND, 1, 500, "0.0")])
    assert await client.zcard(QUEUE_NAME) == 1


async def test_restarted(own_redis: EmbeddedRedis) -> None:
    """After a restart of Redis the same queue object goes on."""
    queue = connect(own_redis.url)
    await queue.enqueue([Batch(SEND, 1, 500, "0.0")])
    own_redis.stop()
    own_redis.start()
    await queue.enqueue([Batch(SEND, 1, 500, "0.0")])
    await queue.close()


async def test_nothing_to_queue(queue: ArqQueue, client: ArqRedis) -> None:
    """No batches, no job."""
    await queue.enqueue([])
    assert await client.dbsize() == 0


# --- failures ---------------------------------------------------------------------------------------------------------


async def refused(url: str) -> QueueError:
    queue = connect(url)
    try:
        with pytest.raises(QueueError) as caught:
            await queue.wait_ready(0.3)
    finally:
        await queue.close()
    return caught.value


def serve(options: list[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([find_server(), *options], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def locked_redis(tmp_path: Path) -> Iterator[str]:
    """A Redis with the password ``open:sesame``; gives its socket."""
    socket = tmp_path / "locked.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--requirepass", "open:sesame", "--save", ""]
    server = serve(options, tmp_path)
    yield str(socket)
    server.terminate()
    server.wait()


async def test_password(locked_redis: str) -> None:
    """The right password opens, percent-encoded; a wrong one or none is an error that doesn't repeat it."""
    queue = connect(f"unix://:open%3Asesame@{locked_redis}")
    await queue.wait_ready(10)
    await queue.close()
    for login in (":wrong-password@", "nobody:wrong-password@", ""):
        error = await refused(f"unix://{login}{locked_redis}")
        assert "refuses the login" in error.what
        assert "wrong-password" not in str(error)
        assert error.todo


@pytest.mark.parametrize(
    ("greeting", "answer", "said"),
    [
        (b"220 mail.example.com ESMTP\r\n", b"500 what?\r\n", "no Redis"),
        (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", "no Redis"),
        (b"", b"", "doesn't answer"),
    ],
)
async def test_something_else_answers(greeting: bytes, answer: bytes, said: str) -> None:
    """A mail server, a web server, and one that says nothing: each is named for what it is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        try:
            while await reader.read(1000):
                writer.write(answer)
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    error = await refused(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    assert said in error.what
    server.close()


async def test_down(unused_port: int) -> None:
    """A Redis that isn't there: where, and what to do."""
    error = await refused(f"redis://127.0.0.1:{unused_port}/0")
    assert "can't be reached" in error.what
    assert str(unused_port) in error.where
    assert error.todo


async def test_no_sentinel(unused_port: int) -> None:
    """Sentinels that aren't there: the error is one line for people, not the clients' internals."""
    error = await refused(f"redis+sentinel://127.0.0.1:{unused_port}/mymaster")
    assert "no Sentinel names a master" in error.what
    assert "<redis" not in str(error)


async def test_enqueue_without_redis(unused_port: int) -> None:
    """Queueing without Redis raises QueueError, nothing of the client library's."""
    queue = connect(f"redis://127.0.0.1:{unused_port}/0")
    with pytest.raises(QueueError, match="can't be reached"):
        await queue.enqueue([Batch(SEND, 1, 500, "0.0")])
    await queue.close()


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_sentinel(tmp_path: Path, unused_port: int) -> None:
    """The master is found through a Sentinel."""
    master_port, sentinel_port = unused_port, unused_port + 1
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {sentinel_port}\nbind 127.0.0.1\nsentinel monitor ours 127.0.0.1 {master_port} 1\n"
        f"dir {tmp_path}\nlogfile {tmp_path / 'log'}\n"
    )
    servers = [
        serve(options, tmp_path)
        for options in (
            ["--port", str(master_port), "--bind", "127.0.0.1", "--save", ""],
            [str(config), "--sentinel"],
        )
    ]
    try:
        queue = connect(f"redis+sentinel://127.0.0.1:{sentinel_port}/ours")
        await queue.wait_ready(15)
        await queue.enqueue([Batch(SEND, 1, 500, "0.0")])
        await queue.close()
        client = open_client(redis_settings(f"redis://127.0.0.1:{master_port}"))
        assert await client.zcard(QUEUE_NAME) == 1
        await client.aclose(close_connection_pool=True)
    finally:
        for server in servers:
            server.terminate()
            server.wait()
