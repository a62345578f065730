/** The REST API as a program or a second operator uses it: beside the browser, with a token. */
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@playwright/test';
import { type Server, alive } from './server';

/** The parts of a job in an answer that specs look at. */
export interface Job {
  job_id: string;
  name: string;
  phase: string;
  progress: { total: number; succeeded: number; failed: number; cancelled: number; running: number };
  cancellation?: { notes: string | null; cancelled_at: string | null; reason: string; stop: { stopped: number; unconfirmed: number } };
}

/** A line of a plan. */
export interface Line {
  category: string;
  items: number;
  bytes: number;
}

export interface Receipt {
  name: string;
  state: string;
  kept_in?: string | null;
  items: { category: string; planned: number; planned_bytes: number; removed: number; removed_bytes: number }[];
}

/** A job whose processes and end the test controls. */
export interface Held extends Job {
  /** Ids of its processes that are alive now. */
  alive(): number[];
  /** Lets its units end well. */
  release(): void;
}

export class Api {
  constructor(private readonly server: Server) {}

  async request(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(this.server.url + path, {
      method,
      headers: {
        authorization: `Bearer ${this.server.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  private async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.request(method, path, body);
    const text = await answer.text();
    expect(answer.ok, `${method} ${path}: ${answer.status} ${text}`).toBe(true);
    return JSON.parse(text) as T;
  }

  /** New files below the root; the answer is an input for a job. */
  files(count: number): Promise<string> {
    return this.server.files(count);
  }

  submit(name: string, spec: object): Promise<Job> {
    return this.json('POST', '/api/jobs', { name, kind: 'files', spec });
  }

  job(id: string): Promise<Job> {
    return this.json('GET', `/api/jobs/${id}`);
  }

  cancel(id: string, notes?: string): Promise<Job> {
    return this.json('POST', `/api/jobs/${id}/cancel`, notes === undefined ? {} : { notes });
  }

  plan(id: string): Promise<{ items: Line[]; files: number; bytes: number }> {
    return this.json('DELETE', `/api/jobs/${id}?dry_run=true`);
  }

  delete(id: string, force = false): Promise<{ status: string }> {
    return this.json('DELETE', `/api/jobs/${id}?force=${force}`);
  }

  receipt(id: string): Promise<Receipt> {
    return this.json('GET', `/api/removals/${id}`);
  }

  /** Waits until `holds` is true of the job, by the blocking query. */
  async when(id: string, holds: (job: Job) => boolean, withinMs = 30_000): Promise<Job> {
    const deadline = Date.now() + withinMs;
    let etag = '';
    let latest: Job | undefined;
    for (;;) {
      const answer = await this.request('GET', `/api/jobs/${id}${etag && '?wait=2s'}`, undefined, etag ? { 'if-none-match': etag } : {});
      if (answer.status === 200) {
        etag = answer.headers.get('etag') ?? '';
        latest = (await answer.json()) as Job;
        if (holds(latest)) return latest;
      } else {
        expect(answer.status).toBe(304);
      }
      expect(Date.now(), `job ${id} is ${JSON.stringify(latest)}`).toBeLessThan(deadline);
    }
  }

  /** Waits until the job is in `phase`. */
  reaches(id: string, phase: string): Promise<Job> {
    return this.when(id, (job) => job.phase === phase);
  }

  /**
   * A job over `files` new files, whose every unit is a shell with a child in the background. It runs until it is
   * stopped or released. Resolves when `running` of its units run. `stubborn` ones ignore SIGTERM.
   */
  async held(name: string, { files = 1, running = 1, parallel = 4, stubborn = false, grace = 5 } = {}): Promise<Held> {
    const folder = await this.server.files(files);
    const mark = join(this.server.folder, randomUUID());
    const [pids, gate] = [`${mark}.pids`, `${mark}.gate`];
    const script = [
      stubborn ? 'trap "" TERM' : '',
      'echo "started $BELAY_NAME"',
      'sleep 600 &',
      `echo $! >> ${pids}; echo $$ >> ${pids}`,
      `until [ -e ${gate} ]; do sleep 0.1; done`,
      'kill -9 $!',
      'echo "result of $BELAY_NAME" > "$BELAY_OUT/result.txt"',
    ].join('\n');
    const job = await this.submit(name, { command: ['sh', '-c', script], inputs: [folder], parallel, grace_s: grace });
    const noted = () => (existsSync(pids) ? readFileSync(pids, 'utf8').trim().split('\n').length : 0);
    await expect.poll(noted, { message: `units of ${name} that run, twice`, timeout: 20_000 }).toBeGreaterThanOrEqual(running * 2);
    await this.reaches(job.job_id, 'in_progress');
    return { ...job, alive: () => alive(pids), release: () => writeFileSync(gate, '') };
  }

  /** A job over `files` new files that has ended well, with a line of log and a copy of each file. */
  async completed(name: string, files = 2): Promise<Job> {
    const command = ['sh', '-c', 'echo "working on $BELAY_NAME"; cp "$BELAY_FILE" "$BELAY_OUT/copy.txt"'];
    const job = await this.submit(name, { command, inputs: [await this.server.files(files)] });
    return this.reaches(job.job_id, 'completed');
  }

  /** A job that was stopped with proof. */
  async cancelled(name: string, notes = 'not needed any more'): Promise<Job> {
    const held = await this.held(name);
    await this.cancel(held.job_id, notes);
    return this.reaches(held.job_id, 'cancelled');
  }
}
