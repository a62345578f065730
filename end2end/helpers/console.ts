/**
 * What a spec needs: `test` with a server, a signed-in page with the ways of the console, and the API beside it.
 *
 *     test.use({ instance: 'cancel' });
 *     test('…', async ({ api, console }) => {
 *       const job = await api.held('Stop me');
 *       await console.detail(job.job_id);
 */
import AxeBuilder from '@axe-core/playwright';
import { type Locator, type Page, expect, test as base } from '@playwright/test';
import { Api } from './api';
import { Server } from './server';

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

/** The console as a person finds their way in it: by role, label and text. */
export class Console {
  /** Errors of scripts, breaches of the content security policy, and panics: empty at the end of every test. */
  readonly faults: string[] = [];

  constructor(
    readonly page: Page,
    /** Without WebAssembly a page never becomes live. */
    private wasm = true,
  ) {
    page.on('pageerror', (error) => this.wasm && this.faults.push(String(error)));
    page.on('console', (message) => {
      // A refused or failed request is logged by Chromium itself; tests provoke those.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource') && this.wasm) this.faults.push(message.text());
    });
  }

  /** From now on as for a visitor whose WebAssembly does not load. */
  async blockWasm(): Promise<void> {
    this.wasm = false;
    await this.page.route('**/*.wasm', (route) => route.abort());
  }

  /** Opens a page and waits until it is live; a click before that would be one on a plain form. */
  async goto(path: string): Promise<void> {
    await this.page.goto(path);
    await this.live();
  }

  /** Waits until the page is hydrated. */
  async live(): Promise<void> {
    if (this.wasm) await this.page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
  }

  async reload(): Promise<void> {
    await this.page.reload();
    await this.live();
  }

  async list(query = ''): Promise<void> {
    await this.goto(`/jobs${query}`);
    await expect(this.page.getByRole('heading', { name: 'Jobs', level: 1 })).toBeVisible();
  }

  async detail(id: string): Promise<void> {
    await this.goto(`/jobs/${id}`);
    await expect(this.page.getByRole('heading', { level: 1 })).toBeVisible();
  }

  row(id: string): Locator {
    return this.page.locator(`tr[data-job-id="${id}"]`);
  }

  /** Opens the three-dot menu of a row. */
  async menu(id: string): Promise<Locator> {
    await this.row(id)
      .getByLabel(/^Actions for /)
      .click();
    const menu = this.row(id).locator('details[open]');
    await expect(menu).toBeVisible();
    return menu;
  }

  /** Takes an entry of the row's menu. */
  async choose(id: string, entry: 'Cancel Job' | 'Delete Job' | 'View Details'): Promise<void> {
    await item(await this.menu(id), entry).click();
  }

  /** A button of the job's header. */
  action(name: string | RegExp): Locator {
    return this.page.locator('.page-head').getByRole('button', { name, exact: true });
  }

  /** The phase in the job's header. */
  badge(): Locator {
    return this.page.locator('.page-head .badge');
  }

  dialog(title: string | RegExp): Locator {
    return this.page.getByRole('dialog', { name: title });
  }

  cancelDialog(): Locator {
    return this.dialog('Cancel Job?');
  }

  deleteDialog(): Locator {
    return this.dialog('Delete Job?');
  }

  forceDialog(): Locator {
    return this.dialog('Job is still running. Cancel it first or use force delete?');
  }

  /** A message that goes by itself. */
  toast(text: string | RegExp): Locator {
    return this.page.locator('.toast').and(this.page.getByRole('status')).filter({ hasText: text });
  }

  /** What axe finds on the page as it is (WCAG 2.2 A and AA), a line each. */
  async axe(): Promise<string[]> {
    // A colour in the middle of its transition is none that anybody reads.
    await this.page.evaluate(() =>
      Promise.all(
        document
          .getAnimations()
          .filter((animation) => animation.effect?.getComputedTiming().iterations !== Infinity)
          .map((animation) => animation.finished.catch(() => undefined)),
      ),
    );
    const { violations } = await new AxeBuilder({ page: this.page }).withTags(TAGS).analyze();
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)}: ${node.failureSummary}`));
  }

  /** True when the page can be scrolled sideways. */
  async scrollsSideways(): Promise<boolean> {
    return this.page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  }
}

/** An entry of a menu: a link, or a button of a form. */
export function item(menu: Locator, name: string): Locator {
  return menu.getByRole('link', { name }).or(menu.getByRole('button', { name }));
}

/**
 * Requests that change something, as they leave the page. (The plan of a delete is asked by DELETE too, and changes
 * nothing.)
 */
export function changes(page: Page, path: string): string[] {
  const seen: string[] = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    const question = request.method() === 'GET' || url.searchParams.get('dry_run') === 'true';
    if (url.pathname === path && !question) seen.push(`${request.method()} ${url.pathname}${url.search}`);
  });
  return seen;
}

/** Holds back what changes something at `path`; the answer of this function lets it go on. */
export async function holdBack(page: Page, path: string): Promise<() => void> {
  let release = () => {};
  const held = new Promise<void>((done) => (release = done));
  await page.route(
    (url) => url.pathname === path && url.searchParams.get('dry_run') !== 'true',
    async (route) => {
      if (route.request().method() !== 'GET') await held;
      await route.continue();
    },
  );
  return release;
}

/**
 * Lets the test move the page's clock on; call it before the page is opened. Only `Date.now` is moved: timers run as they
 * are. (Playwright's own clock hands out timer ids beyond 32 bits, which WebAssembly cannot give back to clear them.)
 */
export async function movableClock(page: Page): Promise<(ms: number) => Promise<void>> {
  await page.addInitScript(() => {
    const real = Date.now.bind(Date);
    let ahead = 0;
    Date.now = () => real() + ahead;
    Object.defineProperty(window, 'moveClock', { value: (ms: number) => (ahead += ms) });
  });
  return (ms) => page.evaluate((ms) => void (window as unknown as { moveClock(ms: number): void }).moveClock(ms), ms);
}

type StorageState = Awaited<ReturnType<import('@playwright/test').BrowserContext['storageState']>>;

interface Each {
  console: Console;
}

interface Shared {
  /** Another name means another worker, and with it another server: every spec file has its own. */
  instance: string;
  server: Server;
  api: Api;
  /** Cookies of a browser that has signed in. */
  session: StorageState;
}

export const test = base.extend<Each, Shared>({
  instance: ['', { option: true, scope: 'worker' }],
  server: [
    async ({ instance: _ }, use) => {
      const server = await Server.start();
      await use(server);
      await server.remove();
    },
    { scope: 'worker' },
  ],
  api: [async ({ server }, use) => use(new Api(server)), { scope: 'worker' }],
  session: [
    async ({ playwright, server }, use) => {
      const request = await playwright.request.newContext({ baseURL: server.url });
      const answer = await request.post('/sign-in', {
        form: { token: server.token, next: '/jobs' },
        headers: { origin: server.url },
        maxRedirects: 0,
      });
      expect(answer.status(), 'sign-in answers with a redirect').toBe(303);
      await use(await request.storageState());
      await request.dispose();
    },
    { scope: 'worker' },
  ],
  baseURL: async ({ server }, use) => use(server.url),
  storageState: async ({ session }, use) => use(session),
  console: async ({ javaScriptEnabled, page }, use) => {
    const console = new Console(page, javaScriptEnabled);
    await use(console);
    // What the page asks for now is for nobody: a handler that waits for it must not fail the test that is over.
    await page.unrouteAll({ behavior: 'ignoreErrors' });
    expect(console.faults).toEqual([]);
  },
});

export { expect };
