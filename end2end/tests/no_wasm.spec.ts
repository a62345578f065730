/** Everything that matters works before the WebAssembly has loaded, and without it. */
import type { Page } from '@playwright/test';

import type { Api } from '../helpers/api';
import type { Console } from '../helpers/console';
import { expect, test } from '../helpers/console';

test.use({ instance: 'no_wasm' });

const CONSEQUENCE =
  'This will stop all processing for this job. Workers will be notified to stop, and queued tasks will be removed. ' +
  'This action cannot be undone.';

async function cancels(api: Api, console: Console, page: Page): Promise<void> {
  const job = await api.held('Plain form', { files: 3, running: 3 });
  await console.list();
  await console.choose(job.job_id, 'Cancel Job');
  await expect(page).toHaveURL(new RegExp(`/jobs/${job.job_id}/cancel`));
  await expect(page.getByRole('heading', { name: 'Cancel Job?' })).toBeVisible();
  await expect(page.getByText(CONSEQUENCE)).toBeVisible();
  await page.locator('textarea[name="reason"]').fill('No script here');
  await page.getByRole('button', { name: 'Confirm Cancellation' }).click();

  await expect(page).toHaveURL(new RegExp(`/jobs/${job.job_id}$`));
  await expect(page.getByText('Job cancelled successfully')).toBeVisible();
  await expect(console.badge()).toHaveText('Cancelled');
  await expect(page.locator('.proof').getByText(/^0 of \d+/)).toHaveCount(3);
  await expect(page.getByRole('main')).toContainText('No script here');
  expect(job.alive()).toEqual([]);
  expect((await api.job(job.job_id)).cancellation?.notes).toBe('No script here');
  // Told once: loading the page again does not say it again.
  await page.reload();
  await expect(console.badge()).toHaveText('Cancelled');
  await expect(page.getByText('Job cancelled successfully')).toHaveCount(0);
}

async function deletes(api: Api, console: Console, page: Page): Promise<void> {
  const job = await api.completed('Plain delete');
  const plan = await api.plan(job.job_id);
  await console.detail(job.job_id);
  await console.action('Delete Job').click();
  await expect(page).toHaveURL(new RegExp(`/jobs/${job.job_id}/delete`));
  await expect(page.getByRole('heading', { name: 'Delete Job?' })).toBeVisible();
  await expect(page.getByText('This will permanently delete:')).toBeVisible();
  await expect(page.locator('.plan tbody tr')).toHaveCount(plan.items.length);
  await page.getByRole('button', { name: 'Delete Permanently' }).click();
  await expect(page).toHaveURL(/\/jobs$/);
  await expect(page.getByText('Job deleted successfully')).toBeVisible();
  await expect(console.row(job.job_id)).toHaveCount(0);
  expect((await api.request('GET', `/api/jobs/${job.job_id}`)).status).toBe(404);
}

async function deletesByForce(api: Api, console: Console, page: Page): Promise<void> {
  const job = await api.held('Plain force');
  await console.detail(job.job_id);
  await console.action('Cancel & Delete Job').click();
  await expect(page.getByText('This job is still running. It will be cancelled first, then deleted after workers acknowledge.')).toBeVisible();
  await page.getByRole('button', { name: 'Delete Permanently' }).click();
  await expect(page.getByText('Job is still running. Cancel it first or use force delete?')).toBeVisible();
  expect(job.alive().length).toBeGreaterThan(0);
  await page.getByRole('button', { name: 'Force Delete' }).click();
  await expect(page).toHaveURL(/\/jobs$/);
  await expect(page.getByText('Job deleted successfully')).toBeVisible();
  await expect(console.row(job.job_id)).toHaveCount(0);
  expect(job.alive()).toEqual([]);
}

async function keepsFiles(api: Api, console: Console, page: Page): Promise<void> {
  const script = 'case "$BELAY_NAME" in file-1.txt) cp "$BELAY_FILE" "$BELAY_OUT/";; *) exec sleep 600;; esac';
  const job = await api.submit('Plain force, files kept', { command: ['sh', '-c', script], inputs: [await api.files(2)] });
  await api.when(job.job_id, ({ progress }) => progress.succeeded === 1 && progress.running === 1);
  await console.detail(job.job_id);
  await console.action('Cancel & Delete Job').click();
  const keep = page.getByRole('checkbox', { name: /^Keep the result files/ });
  await keep.check();
  await page.getByRole('button', { name: 'Delete Permanently' }).click();
  await expect(page.getByText('Job is still running. Cancel it first or use force delete?')).toBeVisible();
  await expect(keep).toBeChecked();
  await page.getByRole('button', { name: 'Force Delete' }).click();
  await expect(page.getByText('Job deleted successfully')).toBeVisible();
  expect((await api.receipt(job.job_id)).kept_in, 'the receipt names the folder').toBeTruthy();
}

async function runsTheRest(api: Api, console: Console, page: Page): Promise<void> {
  const command = ['sh', '-c', 'case "$BELAY_NAME" in file-2.txt) exit 3;; esac'];
  const job = await api.submit('One of three fails', { command, inputs: [await api.files(3)] });
  await api.reaches(job.job_id, 'partial');
  await console.detail(job.job_id);
  await console.action('Run 1 Unfinished').click();
  await expect(page.getByText('Job submitted')).toBeVisible();
  const id = /[0-9a-f-]{36}/.exec(page.url())?.[0] ?? '';
  expect(id).not.toBe(job.job_id);
  expect((await api.reaches(id, 'failed')).progress.total).toBe(1);
}

async function backsOut(api: Api, console: Console, page: Page): Promise<void> {
  const job = await api.held('Second thoughts');
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  await expect(page.getByRole('heading', { name: 'Cancel Job?' })).toBeVisible();
  await page.getByRole('link', { name: 'Cancel', exact: true }).or(page.getByRole('button', { name: 'Cancel', exact: true })).click();
  await expect(page.getByRole('heading', { name: 'Second thoughts', level: 1 })).toBeVisible();
  await expect(page.getByRole('heading', { name: 'Cancel Job?' })).toHaveCount(0);
  expect((await api.job(job.job_id)).phase).toBe('in_progress');
  await api.cancel(job.job_id);
}

async function startsAJob(api: Api, page: Page, folder: string): Promise<void> {
  await page.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Made by a plain form');
  await page.getByLabel('Files and folders on the server').fill(folder);
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  await expect(page.getByRole('heading', { name: 'Made by a plain form', level: 1 })).toBeVisible();
  const id = /[0-9a-f-]{36}/.exec(page.url())?.[0] ?? '';
  await api.reaches(id, 'completed');
}

test.describe('with WebAssembly blocked', () => {
  test.beforeEach(({ console }) => console.blockWasm());
  test('a running job is stopped', ({ api, console, page }) => cancels(api, console, page));
  test('a finished job is deleted', ({ api, console, page }) => deletes(api, console, page));
  test('an active job is deleted by force', ({ api, console, page }) => deletesByForce(api, console, page));
  test('the question can be left', ({ api, console, page }) => backsOut(api, console, page));
});

test.describe('without any script', () => {
  // A click waits for two frames that are equal; beside an animation, Chromium without scripts was seen not to draw them.
  test.use({ javaScriptEnabled: false, contextOptions: { reducedMotion: 'reduce' } });
  test('a running job is stopped', ({ api, console, page }) => cancels(api, console, page));
  test('a finished job is deleted', ({ api, console, page }) => deletes(api, console, page));
  test('an active job is deleted by force', ({ api, console, page }) => deletesByForce(api, console, page));
  test('the question can be left', ({ api, console, page }) => backsOut(api, console, page));
  test('files that are to be kept stay so through the question about force', ({ api, console, page }) => keepsFiles(api, console, page));
  test('what did not succeed is run again', ({ api, console, page }) => runsTheRest(api, console, page));
  test('a job is started', async ({ api, page, server }) => {
    server.file('plain/one.txt');
    await startsAJob(api, page, 'plain');
  });
  test('list, filters and receipts can be read', async ({ api, console, page }) => {
    const job = await api.cancelled('Read without script');
    await console.list('?phase=cancelled');
    await expect(console.row(job.job_id)).toBeVisible();
    await api.delete(job.job_id);
    await page.goto(`/removals/${job.job_id}`);
    await expect(page.getByRole('heading', { name: 'Read without script' })).toBeVisible();
  });
});
