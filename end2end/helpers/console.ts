/**
 * What a spec needs: `test` with a server for each worker, a signed-in page, and the API beside it.
 *
 *     test('…', async ({ console, page }) => {
 *       const job = await console.submit({ preset: 'slow', files: 2 });
 *       await console.goto(`/jobs/${job.job_id}`);
 */
import AxeBuilder from '@axe-core/playwright';
import { type BrowserContext, type Page, expect, test as base } from '@playwright/test';
import { Server } from './server';

/** The parts of a job in an answer that specs look at. */
export interface Job {
  job_id: string;
  name: string;
  phase: string;
  progress: { total: number; succeeded: number; failed: number; cancelled: number; running: number };
  [key: string]: unknown;
}

export interface Submit {
  name?: string;
  preset?: string;
  command?: string[];
  /** How many files to make for it; or `inputs` that are there. */
  files?: number;
  inputs?: string[];
  [spec: string]: unknown;
}

export class Console {
  /** Errors of scripts, breaches of the content security policy, and panics: empty at the end of every test. */
  readonly faults: string[] = [];

  constructor(
    readonly page: Page,
    readonly server: Server,
  ) {
    page.on('pageerror', (error) => this.faults.push(String(error)));
    page.on('console', (message) => {
      // A refused or failed request is logged by Chromium itself; tests provoke those.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) this.faults.push(message.text());
    });
  }

  /** Signs the browser in by the API token; the session is a cookie. */
  async signIn(context: BrowserContext = this.page.context()): Promise<void> {
    const answer = await context.request.post(`${this.server.url}/sign-in`, {
      form: { token: this.server.token, next: '/jobs' },
      headers: { origin: this.server.url },
      maxRedirects: 0,
    });
    expect(answer.status(), 'sign-in answers with a redirect').toBe(303);
  }

  /** Opens a page and waits until it is live; a click before that would be lost. */
  async goto(path: string, page: Page = this.page): Promise<void> {
    await page.goto(this.server.url + path);
    await page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
  }

  /** The same without WebAssembly: call before `page.goto`. */
  async blockWasm(page: Page = this.page): Promise<void> {
    await page.route('**/*.wasm', (route) => route.abort());
    // The start module then fails to load what it needs; that is the point.
    page.on('pageerror', () => this.faults.splice(0));
  }

  /** A request to the API as a program makes it. */
  api(method: string, path: string, body?: unknown): Promise<Response> {
    return fetch(this.server.url + path, {
      method,
      headers: { authorization: `Bearer ${this.server.token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  }

  async submit({ name = 'A job', files = 2, inputs, ...spec }: Submit = {}): Promise<Job> {
    const chosen = spec.preset || spec.command ? spec : { ...spec, preset: 'sha256' };
    const answer = await this.api('POST', '/api/jobs', {
      name,
      kind: 'files',
      spec: { ...chosen, inputs: inputs ?? [await this.server.files(files)] },
    });
    const body = await answer.json();
    expect(answer.status, JSON.stringify(body)).toBe(201);
    return body;
  }

  async job(id: string): Promise<Job> {
    const answer = await this.api('GET', `/api/jobs/${id}`);
    expect(answer.status).toBe(200);
    return answer.json();
  }

  /** Waits until the job is in one of `phases`, and returns it. */
  async inPhase(id: string, ...phases: string[]): Promise<Job> {
    return this.when(id, (job) => phases.includes(job.phase));
  }

  /** Waits until `holds` is true of the job, by the blocking query. */
  async when(id: string, holds: (job: Job) => boolean, withinMs = 30_000): Promise<Job> {
    const deadline = Date.now() + withinMs;
    let etag = '';
    for (;;) {
      const answer = await fetch(`${this.server.url}/api/jobs/${id}${etag && '?wait=2s'}`, {
        headers: { authorization: `Bearer ${this.server.token}`, ...(etag && { 'if-none-match': etag }) },
      });
      if (answer.status === 200) {
        etag = answer.headers.get('etag') ?? '';
        const job: Job = await answer.json();
        if (holds(job)) return job;
        expect(Date.now(), `job ${id} is ${job.phase}, ${JSON.stringify(job.progress)}`).toBeLessThan(deadline);
      } else {
        expect(answer.status).toBe(304);
        expect(Date.now(), `job ${id} did not change`).toBeLessThan(deadline);
      }
    }
  }

  /** axe finds nothing (WCAG 2.2 A and AA, best practice), in light and in dark. */
  async expectAccessible(page: Page = this.page): Promise<void> {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      const { violations } = await new AxeBuilder({ page }).analyze();
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' | ')}`);
      expect(found, colorScheme).toEqual([]);
    }
    await page.emulateMedia({ colorScheme: null, reducedMotion: null });
  }
}

/** `console`: signed in. `server`: one for each worker; a test that stops it takes `ownServer` instead. */
export const test = base.extend<{ console: Console; ownServer: Server }, { server: Server }>({
  server: [
    // eslint-disable-next-line no-empty-pattern
    async ({}, use) => {
      const server = await Server.start();
      await use(server);
      await server.remove();
    },
    { scope: 'worker' },
  ],
  ownServer: async ({}, use) => {
    const server = await Server.start();
    await use(server);
    await server.remove();
  },
  console: async ({ page, server }, use) => {
    const console = new Console(page, server);
    await console.signIn();
    await use(console);
    expect(console.faults).toEqual([]);
  },
});

export { expect };
