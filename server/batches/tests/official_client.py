"""Drives the double of Gemini with Google's own client: python official_client.py BASE_URL KEY VERSION"""

import json
import sys
import tempfile
from pathlib import Path

from google import genai
from google.genai import errors, types

base_url, key, version = sys.argv[1:]
client = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=base_url, api_version=version))


def requests(count: int) -> str:
    lines = ({"key": f"r{i}", "request": {"contents": [{"parts": [{"text": "Hi"}]}]}} for i in range(count))
    return "".join(json.dumps(line) + "\n" for line in lines)


def upload(text: str) -> types.File:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "requests.jsonl")
        path.write_text(text)
        config = types.UploadFileConfig(display_name="requests", mime_type="application/jsonl")
        return client.files.upload(file=path, config=config)


def ended(name: str) -> types.BatchJob:
    for _ in range(20):
        job = client.batches.get(name=name)
        if job.done:
            return job
    raise AssertionError(f"{name} does not end")


# A file, in more than one piece.
text = requests(4)
file = upload(text)
assert file.name.startswith("files/") and file.size_bytes == len(text), file
assert file.state == types.FileState.ACTIVE, file
assert client.files.get(name=file.name).display_name == "requests"
large = upload(requests(1) + " " * (9 << 20))
assert large.size_bytes > 9 << 20, large
assert {file.name, large.name} <= {listed.name for listed in client.files.list()}

# A batch of a file: made, listed, followed, fetched.
job = client.batches.create(model="gemini-2.5-flash", src=file.name, config={"display_name": "one"})
assert job.name.startswith("batches/") and job.state == types.JobState.JOB_STATE_PENDING, job
assert job.display_name == "one" and job.model == "models/gemini-2.5-flash", job
assert client.batches.get(name=job.name).state == types.JobState.JOB_STATE_RUNNING
job = ended(job.name)
assert job.state == types.JobState.JOB_STATE_SUCCEEDED and job.end_time, job
lines = client.files.download(file=job.dest.file_name).decode().splitlines()
assert [json.loads(line)["key"] for line in lines] == ["r0", "r1", "r2", "r3"], lines
answer = types.GenerateContentResponse.model_validate(json.loads(lines[0])["response"])
assert answer.text == "Hello from the double.", answer
assert answer.usage_metadata.thoughts_token_count == 11, answer

# A batch of requests inside it.
inline = client.batches.create(
    model="gemini-2.5-flash",
    src=[{"contents": [{"parts": [{"text": "Hi"}], "role": "user"}], "metadata": {"key": "a"}}],
    config={"display_name": "two"},
)
inline = ended(inline.name)
assert inline.dest.inlined_responses[0].response.text == "Hello from the double.", inline

# A cancellation: no state of its own, then done.
stopped = client.batches.create(model="gemini-2.5-flash", src=file.name, config={"display_name": "three"})
client.batches.cancel(name=stopped.name)
assert client.batches.get(name=stopped.name).state == types.JobState.JOB_STATE_PENDING
stopped = ended(stopped.name)
assert stopped.state == types.JobState.JOB_STATE_CANCELLED, stopped
assert {job.name, inline.name, stopped.name} == {listed.name for listed in client.batches.list(config={"page_size": 2})}

# Deletions, and what is not there any more.
for batch in (job, inline, stopped):
    client.batches.delete(name=batch.name)
assert list(client.batches.list()) == []
for name in (file.name, large.name):
    client.files.delete(name=name)
for gone in (lambda: client.batches.get(name=job.name), lambda: client.files.get(name=file.name)):
    try:
        gone()
        raise AssertionError("still there")
    except errors.ClientError as error:
        assert error.code in (403, 404), error

stranger = genai.Client(api_key="wrong", http_options=types.HttpOptions(base_url=base_url))
try:
    stranger.files.get(name=file.name)
    raise AssertionError("any key is taken")
except errors.ClientError as error:
    assert error.code == 400 and error.status == "INVALID_ARGUMENT", error

print("all as expected")
