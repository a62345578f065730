/** The server goes away and comes back; pages are loaded again in the middle of things. */
import { expect, movableClock, test } from '../helpers/console';

test.use({ instance: 'offline' });

test('when the server stops the rows stay with a banner, and the page recovers by itself', async ({ api, console, page, server }) => {
  const job = await api.completed('Still shown');
  // While something on the page moves it asks every second, so the failure is noticed soon.
  await api.held('Keeps the page awake');
  await console.list();
  await expect(console.row(job.job_id)).toBeVisible();

  await server.down();
  const banner = page.getByText(/Last updated .+ ago/).first();
  await expect(banner).toBeVisible({ timeout: 40_000 });
  await expect(console.row(job.job_id)).toBeVisible();
  await expect(console.row(job.job_id).locator('.badge')).toHaveText('Completed');

  await server.up();
  const later = await api.completed('Made after the pause', 1);
  await expect(console.row(later.job_id)).toBeVisible({ timeout: 40_000 });
  await expect(page.locator('.banner').filter({ hasText: /Last updated/ })).toHaveCount(0);
});

test('a cancel asked for while the server is away keeps the dialog, and Retry works when it is back', async ({ api, console, server }) => {
  const job = await api.held('Server away');
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  const dialog = console.cancelDialog();
  await dialog.locator('textarea[name="reason"]').fill('Kept over a restart');
  await server.down();
  await dialog.getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(dialog.getByRole('alert')).toContainText('Failed to cancel job. Please try again.', { timeout: 20_000 });
  await expect(dialog.locator('textarea[name="reason"]')).toHaveValue('Kept over a restart');
  await server.up();
  await dialog.getByRole('button', { name: 'Retry' }).click();
  await expect(console.toast('Job cancelled successfully')).toBeVisible({ timeout: 20_000 });
  expect((await api.job(job.job_id)).cancellation?.notes).toBe('Kept over a restart');
  expect(job.alive()).toEqual([]);
});

test('a server killed while a job is being stopped goes on stopping it after the start', async ({ api, console, server }) => {
  const job = await api.held('Killed in between', { stubborn: true, grace: 8 });
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect.poll(async () => (await api.job(job.job_id)).phase).toBe('cancelling');
  await server.down('SIGKILL');
  await server.up();
  await expect(console.badge()).toHaveText('Cancelled', { timeout: 50_000 });
  expect(job.alive()).toEqual([]);
});

test('updates are paused by one switch, and go on by it', async ({ api, console, page }) => {
  await api.completed('Not polled');
  await console.list();
  const pause = page.getByRole('button', { name: 'Pause updates' });
  await pause.click();
  const resume = page.getByRole('button', { name: 'Resume updates' });
  await expect(resume).toBeVisible();
  let polls = 0;
  page.on('request', (request) => {
    if (new URL(request.url()).pathname === '/api/jobs') polls += 1;
  });
  const job = await api.completed('Made during the pause', 1);
  expect(polls).toBe(0);
  await expect(console.row(job.job_id)).toHaveCount(0);
  await resume.click();
  await expect(console.row(job.job_id)).toBeVisible();
  expect(polls).toBeGreaterThan(0);
});

test('a hidden tab does not poll, and one that is seen again asks at once', async ({ api, console, page }) => {
  await api.held('Watched from behind');
  await page.addInitScript(() => {
    let hidden = false;
    Object.defineProperty(document, 'hidden', { get: () => hidden });
    Object.defineProperty(window, 'hide', {
      value: (now: boolean) => {
        hidden = now;
        document.dispatchEvent(new Event('visibilitychange'));
      },
    });
  });
  const moveClock = await movableClock(page);
  await console.list();
  let polls = 0;
  page.on('request', (request) => (polls += new URL(request.url()).pathname === '/api/jobs' ? 1 : 0));
  await expect.poll(() => polls, { message: 'it polls while it is seen' }).toBeGreaterThan(1);
  const hide = (now: boolean) => page.evaluate((now) => (window as unknown as { hide(now: boolean): void }).hide(now), now);
  await hide(true);
  // What was asked before may still be under way.
  await page.waitForLoadState('networkidle');
  polls = 0;
  // Long overdue, and looked at every second: still nothing is asked.
  await moveClock(120_000);
  await page.evaluate(() => new Promise((done) => setTimeout(done, 3_500)));
  expect(polls).toBe(0);
  await hide(false);
  await expect.poll(() => polls).toBeGreaterThan(0);
});

test('the detail page too says that the server is away, and goes on saying so', async ({ api, console, page, server }) => {
  const job = await api.held('Server gone below a detail page');
  await console.detail(job.job_id);
  await server.down();
  const banner = page.locator('.banner').filter({ hasText: /Last updated/ });
  await expect(banner).toBeVisible({ timeout: 40_000 });
  // Seen at every turn of the page for a while: it must not come and go.
  const gone = await page.evaluate(async () => {
    let missing = 0;
    for (let look = 0; look < 40; look += 1) {
      await new Promise((done) => setTimeout(done, 100));
      if (!/Last updated/.test(document.querySelector('.banner')?.textContent ?? '')) missing += 1;
    }
    return missing;
  });
  expect(gone).toBe(0);
  await server.up();
  await expect(banner).toHaveCount(0, { timeout: 60_000 });
});
