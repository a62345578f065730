/** The list and the detail page of jobs. */
import { readFileSync } from 'node:fs';

import { expect, item, test } from '../helpers/console';

test.use({ instance: 'jobs' });

test('a row shows name, kind, phase, progress and age, and its menu fits the phase', async ({ api, console }) => {
  const done = await api.completed('Finished work', 4);
  const held = await api.held('Work in hand', { files: 3 });
  await console.list();

  const row = console.row(done.job_id);
  await expect(row.getByRole('link', { name: 'Finished work' })).toBeVisible();
  await expect(row).toContainText('files');
  await expect(row.locator('.badge')).toHaveText('Completed');
  await expect(row.getByRole('progressbar')).toContainText('4 / 4');
  await expect(row.getByRole('progressbar')).toContainText('100');
  await expect(row.locator('time').first()).toHaveAttribute('datetime', /^\d{4}-\d\d-\d\dT/);
  await expect(row.locator('time').first()).toHaveAttribute('title', /\d{4}/);

  const over = await console.menu(done.job_id);
  await expect(item(over, 'Delete Job')).toBeVisible();
  await expect(item(over, 'View Details')).toBeVisible();
  await expect(item(over, 'Cancel Job')).toHaveCount(0);
  await console.page.keyboard.press('Escape');
  const active = await console.menu(held.job_id);
  await expect(item(active, 'Cancel Job')).toBeVisible();
  await expect(item(active, 'View Details')).toBeVisible();
  await expect(item(active, 'Delete Job')).toHaveCount(0);
  await item(active, 'View Details').click();
  await expect(console.page).toHaveURL(new RegExp(`/jobs/${held.job_id}$`));
  await expect(console.page.getByRole('heading', { name: 'Work in hand', level: 1 })).toBeVisible();
  held.release();
  await expect(console.badge()).toHaveText('Completed');
});

test('rows are in the page that the server sends', async ({ api, page, server }) => {
  const job = await api.completed('Server rendered');
  const html = await (await page.request.get(`${server.url}/jobs`)).text();
  expect(html).toContain(`data-job-id="${job.job_id}"`);
  expect(html).toContain('Server rendered');
});

test('new jobs and their progress come by themselves', async ({ api, console }) => {
  await console.list();
  const job = await api.held('Comes by itself', { files: 2, running: 2 });
  await expect(console.row(job.job_id)).toBeVisible({ timeout: 20_000 });
  await expect(console.row(job.job_id).locator('.badge')).toHaveText('In progress');
  job.release();
  await expect(console.row(job.job_id).locator('.badge')).toHaveText('Completed');
});

test('filter, search and order live in the address', async ({ api, console, page }) => {
  const stopped = await api.cancelled('Filtered needle one');
  const done = await api.completed('Filtered needle two');
  await console.list();
  const chips = page.getByRole('navigation', { name: 'Phase' });
  await chips.getByRole('link', { name: /^Cancelled/ }).click();
  await expect(page).toHaveURL(/[?&]phase=cancelled/);
  await expect(console.row(stopped.job_id)).toBeVisible();
  await expect(console.row(done.job_id)).toHaveCount(0);
  await page.reload();
  await expect(console.row(stopped.job_id)).toBeVisible();
  await expect(console.row(done.job_id)).toHaveCount(0);

  await console.list('?q=needle+two');
  await expect(console.row(done.job_id)).toBeVisible();
  await expect(console.row(stopped.job_id)).toHaveCount(0);
  await expect(page.getByRole('searchbox')).toHaveValue('needle two');

  await console.list('?q=needle&sort=name');
  await expect(page.locator('tr[data-job-id]')).toHaveCount(2);
  await expect(page.locator('tr[data-job-id]').first()).toHaveAttribute('data-job-id', stopped.job_id);
  await console.list('?q=needle&sort=-name');
  await expect(page.locator('tr[data-job-id]').first()).toHaveAttribute('data-job-id', done.job_id);
});

test('a search without a match says so', async ({ console, page }) => {
  await console.list('?q=no-such-job-anywhere');
  await expect(page.locator('tr[data-job-id]')).toHaveCount(0);
  await expect(page.locator('.empty')).toBeVisible();
});

test('the pages of a long list lead on and back', async ({ api, console, page }) => {
  const names = Array.from({ length: 5 }, (_, index) => `Paged ${index}`);
  for (const name of names) await api.completed(name, 1);
  await console.list('?q=Paged&limit=2');
  await expect(page.locator('tr[data-job-id]')).toHaveCount(2);
  await expect(page.locator('tr[data-job-id]').first()).toContainText('Paged 4');
  await page.getByRole('link', { name: /next|older/i }).click();
  await expect(page).toHaveURL(/cursor=/);
  await expect(page.locator('tr[data-job-id]').first()).toContainText('Paged 2');
  await page.goBack();
  await expect(page.locator('tr[data-job-id]').first()).toContainText('Paged 4');
});

test('the detail page has units, log and artifacts of the job', async ({ api, console, page }) => {
  const job = await api.completed('Looked at closely', 2);
  await console.detail(job.job_id);
  await expect(page).toHaveTitle(/Looked at closely/);
  const units = page.getByRole('region', { name: 'Units, scrollable' });
  await expect(units.getByText('file-2.txt').first()).toBeVisible();
  await expect(units.getByText('Succeeded')).toHaveCount(2);
  await expect(page.getByText('working on file-1.txt').first()).toBeVisible();
  await expect(page.getByRole('link', { name: /copy\.txt/ }).first()).toBeVisible();
});

test('the log of a running job grows on the page', async ({ api, console, page }) => {
  const job = await api.held('Talks while it runs');
  await console.detail(job.job_id);
  await expect(page.getByText('started file-1.txt').first()).toBeVisible();
  job.release();
  await expect(console.badge()).toHaveText('Completed');
  await expect(console.action('Delete Job')).toBeEnabled();
});

test('a job that is not there is a 404 with a way on', async ({ page }) => {
  for (const id of ['019a0000-0000-7000-8000-000000000000', 'nonsense']) {
    const answer = await page.goto(`/jobs/${id}`);
    expect(answer?.status()).toBe(404);
    await expect(page.getByRole('main').getByRole('link').first()).toBeVisible();
  }
});

test('the root leads to the list', async ({ page }) => {
  await page.goto('/');
  await expect(page).toHaveURL(/\/jobs$/);
});

test('the pages load nothing from anywhere else and break no policy', async ({ api, console, page, server }) => {
  const job = await api.completed('Policy');
  const foreign: string[] = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith('data:')) foreign.push(request.url());
  });
  for (const path of ['/jobs', `/jobs/${job.job_id}`, '/jobs/new', '/removals', '/audit']) {
    await console.goto(path);
  }
  expect(foreign).toEqual([]);
  // That no policy was broken is checked after every test: Console.faults.
});

test('many inputs are folded, and open by a word', async ({ api, console, page, server }) => {
  const folder = await server.files(12);
  const inputs = Array.from({ length: 12 }, (_, index) => `${folder}/file-${String(index + 1).padStart(2, '0')}.txt`);
  const job = await api.submit('Twelve inputs', { preset: 'sha256', inputs });
  await api.reaches(job.job_id, 'completed');
  await console.detail(job.job_id);
  const facts = page.getByRole('region', { name: 'Job', exact: true });
  await expect(facts.getByText(`${folder}/file-03.txt`)).toBeVisible();
  await expect(facts.getByText(`${folder}/file-04.txt`)).toBeHidden();
  await facts.getByText('and 9 more').click();
  await expect(facts.getByText(`${folder}/file-12.txt`)).toBeVisible();
});

test('the log is filtered by stream in the address, and downloaded as a file', async ({ api, console, page }) => {
  const command = ['sh', '-c', 'echo "said $BELAY_NAME"; echo "complained $BELAY_NAME" >&2'];
  const job = await api.submit('Two streams', { command, inputs: [await api.files(2)] });
  await api.reaches(job.job_id, 'completed');
  await console.detail(job.job_id);
  const log = page.getByRole('log');
  await expect(log.getByRole('listitem')).toHaveCount(4);
  const streams = page.getByRole('navigation', { name: 'Stream' });
  await streams.getByRole('link', { name: 'stderr' }).click();
  await expect(page).toHaveURL(/[?&]stream=stderr/);
  await expect(log.getByRole('listitem')).toHaveCount(2);
  await expect(log).not.toContainText('said');
  await console.reload();
  await expect(streams.getByRole('link', { name: 'stderr' })).toHaveAttribute('aria-current', 'true');
  await expect(log.getByRole('listitem')).toHaveCount(2);
  // With the log of one unit the stream stays.
  await page.getByRole('link', { name: 'file-2.txt' }).click();
  await expect(log.getByRole('listitem')).toHaveCount(1);
  await expect(log).toContainText('complained file-2.txt');

  const [one] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download the log' }).click()]);
  expect(one.suggestedFilename()).toMatch(/-unit-1-stderr\.log$/);
  await console.detail(job.job_id);
  const [whole] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download the log' }).click()]);
  const text = readFileSync(await whole.path(), 'utf8');
  expect(text.match(/^# unit \d: file-\d\.txt$/gm)).toHaveLength(2);
  expect(text).toMatch(/^\d{4}-\d\d-\d\dT\S+Z stdout said file-1\.txt$/m);
  expect(text).toMatch(/Z stderr complained file-2\.txt$/m);
});

test('the way past the navigation is seen only when it has the focus', async ({ console, page }) => {
  await console.list();
  const skip = page.getByRole('link', { name: 'Skip to content' });
  const clip = () => skip.evaluate((node) => getComputedStyle(node).clipPath);
  expect(await clip()).not.toBe('none');
  await page.keyboard.press('Tab');
  await expect(skip).toBeFocused();
  expect(await clip()).toBe('none');
});
