/** Removing a job, with a receipt, from the browser. */
import type { Locator } from '@playwright/test';

import type { Line } from '../helpers/api';
import { changes, expect, holdBack, movableClock, test } from '../helpers/console';

test.use({ instance: 'delete' });

const LABELS: Record<string, string> = {
  job_data: 'Job data and metadata',
  inputs: 'Uploaded inputs',
  results: 'Result files',
  logs: 'Logs',
  scratch: 'Unfinished work',
  records: 'All associated database records',
};

/** The first number of each line of a plan or receipt, by its words. */
async function counts(table: Locator): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const row of await table.locator('tbody tr').all()) {
    const name = (await row.getByRole('rowheader').innerText()).trim();
    const [count = ''] = await row.getByRole('cell').allInnerTexts();
    found[name] = Number(count.replaceAll(/\D/g, ''));
  }
  return found;
}

function planned(lines: Line[]): Record<string, number> {
  return Object.fromEntries(lines.map((line) => [LABELS[line.category] ?? line.category, line.items]));
}

test('a finished job is removed, and the receipt says what the plan said', async ({ api, console, page }) => {
  const job = await api.completed('Done and gone', 3);
  const other = await api.completed('Stays');
  const plan = await api.plan(job.job_id);
  await console.detail(job.job_id);

  await console.action('Delete Job').click();
  const dialog = console.deleteDialog();
  await expect(dialog).toContainText('This will permanently delete:');
  await expect(dialog).toContainText('This action cannot be undone.');
  await expect(dialog.getByRole('button', { name: 'Cancel', exact: true })).toBeFocused();
  await expect(dialog.locator('table')).toBeVisible();
  const shown = await counts(dialog.locator('table'));
  expect(shown).toEqual(planned(plan.items));
  await dialog.getByRole('button', { name: 'Delete Permanently' }).click();

  const toast = console.toast('Job deleted successfully');
  await expect(toast).toBeVisible();
  await expect(page).toHaveURL(/\/jobs$/);
  await expect(console.row(other.job_id)).toBeVisible();
  await expect(console.row(job.job_id)).toHaveCount(0);
  expect((await api.request('GET', `/api/jobs/${job.job_id}`)).status).toBe(404);

  await toast.getByRole('link').click();
  await expect(page).toHaveURL(new RegExp(`/removals/${job.job_id}$`));
  await expect(page.getByRole('heading', { name: 'Done and gone' })).toBeVisible();
  const receipt = await api.receipt(job.job_id);
  expect(receipt.state).toBe('complete');
  expect(Object.fromEntries(receipt.items.map((item) => [LABELS[item.category], item.planned]))).toEqual(shown);
  for (const item of receipt.items) expect(item.removed, item.category).toBe(item.planned);
  expect(await counts(page.locator('.receipt table'))).toEqual(shown);
});

test('an active job is removed through the 409: stopped with proof first', async ({ api, console, page }) => {
  const job = await api.held('Running and unwanted', { files: 3 });
  const sent = changes(page, `/api/jobs/${job.job_id}`);
  await console.detail(job.job_id);
  await console.action('Cancel & Delete Job').click();
  await expect(console.deleteDialog()).toContainText(
    'This job is still running. It will be cancelled first, then deleted after workers acknowledge.',
  );
  await console.deleteDialog().getByRole('button', { name: 'Delete Permanently' }).click();

  const question = console.forceDialog();
  await expect(question).toBeVisible();
  await expect(question.getByRole('button', { name: 'Cancel', exact: true })).toBeFocused();
  expect(job.alive().length, 'asking without force stops nothing').toBeGreaterThan(0);
  await question.getByRole('button', { name: 'Force Delete' }).click();

  await expect(console.toast('Job deleted successfully')).toBeVisible({ timeout: 20_000 });
  await expect(page).toHaveURL(/\/jobs$/);
  await expect(console.row(job.job_id)).toHaveCount(0);
  expect(job.alive()).toEqual([]);
  expect(sent).toHaveLength(2);
  expect(sent[0]).not.toContain('force=true');
  expect(sent[1]).toContain('force=true');
});

test('Escape and the safe button leave the job alone', async ({ api, console, page }) => {
  const job = await api.completed('Kept');
  const sent = changes(page, `/api/jobs/${job.job_id}`);
  await console.detail(job.job_id);
  for (const way of ['Escape', 'Enter']) {
    await console.action('Delete Job').click();
    await expect(console.deleteDialog().getByRole('button', { name: 'Cancel', exact: true })).toBeFocused();
    await page.keyboard.press(way);
    await expect(page.locator('dialog')).toHaveCount(0);
  }
  expect(sent).toEqual([]);
  expect((await api.job(job.job_id)).phase).toBe('completed');
});

test('a double click deletes once', async ({ api, console, page }) => {
  const job = await api.completed('Deleted once');
  const sent = changes(page, `/api/jobs/${job.job_id}`);
  await console.detail(job.job_id);
  const release = await holdBack(page, `/api/jobs/${job.job_id}`);
  await console.action('Delete Job').click();
  const confirm = console.deleteDialog().locator('button[type="submit"]');
  await expect(confirm).toBeEnabled();
  await confirm.dblclick();
  await expect(console.deleteDialog().getByRole('button', { name: 'Deleting...' })).toBeDisabled();
  await page.keyboard.press('Escape');
  await expect(console.deleteDialog()).toBeVisible();
  release();
  await expect(console.toast('Job deleted successfully')).toBeVisible();
  expect(sent).toHaveLength(1);
});

test('after a failed request the dialog stays, and Retry deletes', async ({ api, console, page }) => {
  const job = await api.completed('Network down');
  await console.detail(job.job_id);
  await console.action('Delete Job').click();
  await expect(console.deleteDialog().locator('table')).toBeVisible();
  const path = (url: URL) => url.pathname === `/api/jobs/${job.job_id}`;
  await page.route(path, (route) => route.abort('connectionrefused'));
  await console.deleteDialog().getByRole('button', { name: 'Delete Permanently' }).click();
  await expect(page.getByRole('alert').filter({ hasText: 'Failed to delete job. Please try again.' })).toBeVisible();
  await page.unroute(path);
  await console.deleteDialog().getByRole('button', { name: 'Retry' }).click();
  await expect(console.toast('Job deleted successfully')).toBeVisible();
  await expect(page).toHaveURL(/\/jobs$/);
});

test('a job deleted from elsewhere while the dialog is open leads back to the list', async ({ api, console, page }) => {
  const job = await api.completed('Deleted by somebody else');
  await console.detail(job.job_id);
  await console.action('Delete Job').click();
  const confirm = console.deleteDialog().getByRole('button', { name: 'Delete Permanently' });
  await expect(console.deleteDialog().locator('table')).toBeVisible();
  // Only the delete itself gets through, so that the page does not hear of it before.
  const path = (url: URL) => url.pathname === `/api/jobs/${job.job_id}`;
  await page.route(path, (route) => (route.request().method() === 'GET' ? route.abort() : route.continue()));
  await api.delete(job.job_id);
  await confirm.click();
  await expect(page).toHaveURL(/\/jobs$/);
  await expect(console.toast(/already deleted/i)).toBeVisible();
  await expect(console.row(job.job_id)).toHaveCount(0);
});

test('the open page of a job deleted from elsewhere says so and leads on', async ({ api, console, page }) => {
  const job = await api.completed('Gone meanwhile');
  await console.detail(job.job_id);
  await api.delete(job.job_id);
  // Whichever comes first: the page notices by its own poll, or by the next thing that is asked of it.
  await page.reload();
  await expect(page.getByText(/deleted/i).first()).toBeVisible();
  await expect(page.getByRole('link', { name: /receipt/i }).first()).toHaveAttribute('href', `/removals/${job.job_id}`);
});

test('a job is deleted from the list', async ({ api, console, page }) => {
  const job = await api.completed('From the list');
  await console.list();
  await console.choose(job.job_id, 'Delete Job');
  await expect(console.deleteDialog()).toContainText('From the list');
  await console.deleteDialog().getByRole('button', { name: 'Delete Permanently' }).click();
  await expect(console.toast('Job deleted successfully')).toBeVisible();
  await expect(console.row(job.job_id)).toHaveCount(0);
  await expect(page).toHaveURL(/\/jobs$/);
});

test('a deletion that takes long is said to, and its end is told', async ({ api, console, page }) => {
  test.setTimeout(120_000);
  // Deaf to SIGTERM, with a long grace: the proof, and with it the deletion, takes longer than the request waits.
  const job = await api.held('Slow to go', { stubborn: true, grace: 20 });
  const moveClock = await movableClock(page);
  await console.detail(job.job_id);
  await console.action('Cancel & Delete Job').click();
  await console.deleteDialog().getByRole('button', { name: 'Delete Permanently' }).click();
  await console.forceDialog().getByRole('button', { name: 'Force Delete' }).click();
  await expect(console.forceDialog().getByRole('button', { name: 'Deleting...' })).toBeDisabled();
  await expect(page.locator('dialog')).toHaveCount(0, { timeout: 20_000 });
  const slow = console.toast('Deletion is taking longer than expected. Check back in a few minutes.');
  await expect(slow).toHaveCount(0);
  await moveClock(61_000);
  await expect(slow).toBeVisible({ timeout: 20_000 });
  await expect(console.toast('Job deleted successfully')).toBeVisible({ timeout: 60_000 });
  await expect(page).toHaveURL(/\/jobs$/);
  expect(job.alive()).toEqual([]);
});

test('a job that is being removed is covered, and nothing of it can be used', async ({ api, console, page }) => {
  const job = await api.completed('Going');
  const path = (url: URL) => url.pathname === `/api/jobs/${job.job_id}`;
  await console.detail(job.job_id);
  await page.route(path, async (route) => {
    const answer = await route.fetch({ headers: { ...route.request().headers(), 'if-none-match': '' } });
    const no = { ok: false, why_not: 'The job is being deleted.' };
    const body = { ...(await answer.json()), phase: 'deleting', allowed: { cancel: no, force_cancel: no, delete: no, force_delete: no, rerun: no } };
    await route.fulfill({ status: 200, contentType: 'application/json', body: JSON.stringify(body) });
  });
  const veil = page.locator('.veil').getByRole('status');
  await expect(veil).toContainText('Deleting...', { timeout: 20_000 });
  await expect(console.action('Deleting...')).toBeDisabled();
  await expect(console.action('Run Again')).toHaveCount(0);
  await expect(page.locator('.veiled > [inert]').getByText('file-1.txt').first()).toBeVisible();
  const covered = await page.locator('.veil').boundingBox();
  const units = await page.locator('.units').boundingBox();
  expect(covered && units && covered.y < units.y && covered.y + covered.height > units.y + units.height).toBe(true);
  await veil.getByRole('link', { name: 'Back to Jobs' }).click();
  await expect(page).toHaveURL(/\/jobs$/);
});
