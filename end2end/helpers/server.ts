/**
 * A Belay of its own for a test: the release binary on a free port, with a temporary data folder, files to work on, and presets
 * whose commands behave as real ones do: quick, slow, deaf to SIGTERM, failing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const BINARY = process.env.BELAY_BIN ?? resolve(__dirname, '../../target/release/belay');
const READY_WITHIN_MS = 20_000;
const STOPS_WITHIN_MS = 20_000;

const config = (folder: string) => `
[files]
roots = [${JSON.stringify(join(folder, 'input'))}]
allow_free_commands = true
max_upload_bytes = 10485760
[worker]
slots = 4
[presets.sha256]
description = "SHA-256 of each file"
command = ["sha256sum", "{file}"]
[presets.copy]
description = "A copy of each file, as artifact"
command = ["cp", "--", "{file}", "{out}/"]
[presets.slow]
description = "Ends when it is stopped; two children in the background, one in a session of its own"
command = ["sh", "-c", "sleep 600 & setsid sleep 600 & echo started; wait"]
grace_s = 1
[presets.deaf]
description = "Ignores SIGTERM"
command = ["sh", "-c", "trap '' TERM; echo started; while :; do sleep 1; done"]
grace_s = 1
[presets.fail]
description = "Fails"
command = ["sh", "-c", "echo no >&2; exit 3"]
`;

export class Server {
  /** `http://127.0.0.1:PORT`; the same after a restart. */
  url = '';
  /** An administrator's API token. */
  readonly token = `e2e-${crypto.randomUUID()}`;
  /** What it wrote to standard error. */
  readonly log: string[] = [];
  private child: ChildProcess | undefined;
  private listen = '127.0.0.1:0';

  private constructor(readonly folder: string) {}

  static async start(): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), 'belay-e2e-'));
    const server = new Server(folder);
    await mkdir(join(folder, 'input'));
    await writeFile(join(folder, 'belay.toml'), config(folder));
    await server.up();
    return server;
  }

  /** Writes `count` files into a new folder below the root; its name is an input for a job. */
  async files(count: number, name = `batch-${crypto.randomUUID().slice(0, 8)}`): Promise<string> {
    const folder = join(this.folder, 'input', name);
    await mkdir(folder, { recursive: true });
    const width = String(count).length;
    for (let index = 1; index <= count; index += 1) {
      await writeFile(join(folder, `file-${String(index).padStart(width, '0')}.txt`), `line ${index}\n`);
    }
    return name;
  }

  /** Writes one file below the root; answers its path. */
  file(name: string, content: string | Uint8Array = `${name}\n`): string {
    const path = join(this.folder, 'input', name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }

  /** The one-time sign-in links that it printed, newest last. */
  links(): string[] {
    return this.log.flatMap((line) => /https?:\/\/\S+\/sign-in\?\S+/.exec(line)?.[0] ?? []);
  }

  /** Starts it (again), over the same data, at the same address. */
  async up(): Promise<void> {
    const child = spawn(
      BINARY,
      ['serve', '--listen', this.listen, '--data-dir', join(this.folder, 'data'), '--config', join(this.folder, 'belay.toml')],
      { env: { ...process.env, BELAY_BOOTSTRAP_TOKEN: this.token }, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    this.child = child;
    this.url = await this.ready(child);
    this.listen = new URL(this.url).host;
  }

  /** SIGTERM is a clean shutdown, SIGKILL a crash. Resolves when the process is gone. */
  async down(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.child;
    this.child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), STOPS_WITHIN_MS);
    await gone;
    clearTimeout(late);
  }

  /** Stops it and removes everything. */
  async remove(): Promise<void> {
    await this.down();
    await rm(this.folder, { recursive: true, force: true });
  }

  private ready(child: ChildProcess): Promise<string> {
    return new Promise((done, fail) => {
      const explain = (why: string) => fail(new Error(`${BINARY} ${why}\n${this.log.join('\n')}`));
      const late = setTimeout(() => explain('was not ready in time'), READY_WITHIN_MS);
      child.once('error', (error) => explain(`did not start: ${error.message}`));
      child.once('exit', (code, signal) => explain(`ended with ${code ?? signal}`));
      createInterface({ input: child.stderr! }).on('line', (line) => {
        this.log.push(line);
        const address = /listening on (http:\/\/\S+)/.exec(line)?.[1];
        if (address) {
          clearTimeout(late);
          done(address);
        }
      });
    });
  }
}

/** The processes whose ids are in `file`, one a line, and that still run. */
export function alive(file: string): number[] {
  if (!existsSync(file)) return [];
  const pids = readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number);
  return pids.filter((pid) => {
    try {
      // A zombie runs no more: its parent has not looked yet.
      return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
      return false;
    }
  });
}
