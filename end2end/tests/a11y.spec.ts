/** WCAG 2.2 AA as far as a program can see it: axe on every page and dialog, light and dark; 320 px; targets; motion. */
import type { Api, Held, Job } from '../helpers/api';
import { Console, expect, test } from '../helpers/console';

test.use({ instance: 'a11y' });

/** One job of each sort that looks different, made once for the file. */
interface Sorts {
  held: Held;
  done: Job;
  stopped: Job;
  removed: Job;
}
let made: Promise<Sorts> | undefined;

function sorts(api: Api): Promise<Sorts> {
  made ??= (async () => {
    const done = await api.completed('Completed work', 3);
    const removed = await api.completed('Removed work');
    const stopped = await api.cancelled('Stopped work', 'a note');
    const name = 'A job in hand with a name that is long enough to need more than one line on a telephone';
    const held = await api.held(name, { files: 6, running: 2, parallel: 2 });
    await api.delete(removed.job_id);
    return { held, done, stopped, removed };
  })();
  return made;
}

const PAGES: Record<string, (sorts: Sorts) => string> = {
  list: () => '/jobs',
  'empty list': () => '/jobs?q=nothing-is-called-so',
  'detail, running': ({ held }) => `/jobs/${held.job_id}`,
  'detail, completed': ({ done }) => `/jobs/${done.job_id}`,
  'detail, cancelled': ({ stopped }) => `/jobs/${stopped.job_id}`,
  'question, cancel': ({ held }) => `/jobs/${held.job_id}/cancel`,
  'question, delete': ({ done }) => `/jobs/${done.job_id}/delete`,
  'new job': () => '/jobs/new',
  removals: () => '/removals',
  receipt: ({ removed }) => `/removals/${removed.job_id}`,
  providers: () => '/providers',
  audit: () => '/audit',
  'deleted job': ({ removed }) => `/jobs/${removed.job_id}`,
  'not found': () => '/no-such-page',
};

const DIALOGS: Record<string, (sorts: Sorts, console: Console) => Promise<void>> = {
  'row menu': async ({ held }, console) => {
    await console.list();
    await console.menu(held.job_id);
  },
  cancel: async ({ held }, console) => {
    await console.detail(held.job_id);
    await console.action('Cancel Job').click();
    await expect(console.cancelDialog()).toBeVisible();
  },
  'cancel that failed': async ({ held }, console) => {
    await console.detail(held.job_id);
    await console.page.route('**/api/jobs/*/cancel', (route) => route.abort());
    await console.action('Cancel Job').click();
    await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
    await expect(console.cancelDialog().getByRole('alert')).toBeVisible();
  },
  delete: async ({ done }, console) => {
    await console.detail(done.job_id);
    await console.action('Delete Job').click();
    await expect(console.deleteDialog().locator('table')).toBeVisible();
  },
  'delete by force': async ({ held }, console) => {
    await console.detail(held.job_id);
    await console.action('Cancel & Delete Job').click();
    await console.deleteDialog().getByRole('button', { name: 'Delete Permanently' }).click();
    await expect(console.forceDialog()).toBeVisible();
  },
};

for (const colorScheme of ['light', 'dark'] as const) {
  test.describe(`axe finds nothing in ${colorScheme}`, () => {
    test.use({ colorScheme, contextOptions: { reducedMotion: 'reduce' } });
    test('on every page', async ({ api, console }) => {
      test.slow();
      const all = await sorts(api);
      for (const [name, path] of Object.entries(PAGES)) {
        await test.step(name, async () => {
          await console.goto(path(all));
          expect.soft(await console.axe(), name).toEqual([]);
        });
      }
    });
    test('in every dialog', async ({ api, console, page }) => {
      test.slow();
      const all = await sorts(api);
      for (const [name, open] of Object.entries(DIALOGS)) {
        await test.step(name, async () => {
          await open(all, console);
          expect.soft(await console.axe(), name).toEqual([]);
          await page.unrouteAll();
        });
      }
    });
    test('on the sign-in page', async ({ browser, server }) => {
      const context = await browser.newContext({ baseURL: server.url, colorScheme, storageState: { cookies: [], origins: [] } });
      const page = await context.newPage();
      await page.goto('/jobs');
      await expect(page.getByRole('heading', { name: /sign in/i })).toBeVisible();
      expect(await new Console(page).axe()).toEqual([]);
      await context.close();
    });
  });
}

test('at 320 px nothing scrolls sideways, on any page or in any dialog', async ({ api, console, page }) => {
  const all = await sorts(api);
  await page.setViewportSize({ width: 320, height: 640 });
  for (const [name, path] of Object.entries(PAGES)) {
    await test.step(name, async () => {
      await console.goto(path(all));
      expect.soft(await console.scrollsSideways(), name).toBe(false);
    });
  }
  for (const [name, open] of Object.entries(DIALOGS)) {
    await test.step(name, async () => {
      await open(all, console);
      expect.soft(await console.scrollsSideways(), name).toBe(false);
      const dialog = page.locator('dialog');
      if ((await dialog.count()) > 0) {
        const box = await dialog.boundingBox();
        expect.soft(box !== null && box.x >= 0 && box.x + box.width <= 320, `${name}: inside the window`).toBe(true);
      }
      await page.unrouteAll();
    });
  }
});

test('targets are at least 24 px', async ({ api, console, page }) => {
  const all = await sorts(api);
  for (const [name, path] of Object.entries(PAGES)) {
    await console.goto(path(all));
    const small = await page.evaluate(() =>
      [...document.querySelectorAll('button, summary, select, input:not([type=hidden]):not([type=file]), .btn, .chip, .menu-item')]
        .filter((element) => element.checkVisibility() && !element.closest('.sr-only'))
        // The label of a box that is ticked is a part of the target.
        .map((element) => ({ box: (element.closest('label') ?? element).getBoundingClientRect(), name: element.outerHTML.slice(0, 120) }))
        .filter(({ box }) => box.width > 1 && (box.width < 23.9 || box.height < 23.9))
        .map(({ box, name }) => `${box.width}x${box.height} ${name}`),
    );
    expect.soft(small, name).toEqual([]);
  }
});

test('nothing moves for ever when less motion is asked for', async ({ api, console, page }) => {
  const all = await sorts(api);
  await page.emulateMedia({ reducedMotion: 'reduce' });
  await console.goto(`/jobs/${all.held.job_id}`);
  const restless = await page.evaluate(() =>
    document
      .getAnimations()
      .filter((animation) => animation.effect?.getComputedTiming().iterations === Infinity)
      // The arc may tick in steps (design), it may not turn smoothly.
      .filter((animation) => !String(animation.effect?.getTiming().easing).startsWith('steps') && !JSON.stringify((animation.effect as KeyframeEffect).getKeyframes()).includes('steps'))
      .map((animation) => (animation as CSSAnimation).animationName),
  );
  expect(restless).toEqual([]);
});

test('a change of phase is announced once', async ({ api, console, page }) => {
  const job = await api.held('Announced');
  await console.detail(job.job_id);
  await page.evaluate(() => {
    const heard: string[] = [];
    (window as unknown as { heard: string[] }).heard = heard;
    const live = (node: Node) =>
      (node instanceof Element ? node : node.parentElement)?.closest('[aria-live="polite"], [aria-live="assertive"], [role="status"], [role="alert"]');
    new MutationObserver((records) => {
      for (const record of records) {
        for (const node of [...record.addedNodes, ...(record.type === 'characterData' ? [record.target] : [])]) {
          if (live(node) && /completed/i.test(node.textContent ?? '')) heard.push(node.textContent ?? '');
        }
      }
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  job.release();
  await expect(console.badge()).toHaveText('Completed');
  await expect.poll(() => page.evaluate(() => (window as unknown as { heard: string[] }).heard.length)).toBe(1);
});
