/** Receipts and the audit: what outlives a job. */
import { expect, test } from '../helpers/console';

test.use({ instance: 'removals' });

test('a removed job is in the list of removals, and its receipt names no file', async ({ api, console, page }) => {
  const job = await api.completed('Written on paper', 3);
  await api.delete(job.job_id);
  await console.goto('/removals');
  await expect(page.getByRole('heading', { name: 'Removals', level: 1 })).toBeVisible();
  await page.getByRole('link', { name: /Written on paper/ }).click();
  await expect(page).toHaveURL(new RegExp(`/removals/${job.job_id}$`));
  const receipt = page.locator('.receipt');
  await expect(receipt).toContainText('Written on paper');
  await expect(receipt).toContainText(job.job_id);
  await expect(receipt).toContainText('completed');
  await expect(receipt.getByRole('rowheader', { name: /Result files/ })).toBeVisible();
  expect(await page.content()).not.toContain('copy.txt');
  expect(await page.content()).not.toContain('file-1.txt');
});

test('a receipt that is not there is a 404', async ({ page }) => {
  const answer = await page.goto('/removals/019a0000-0000-7000-8000-000000000000');
  expect(answer?.status()).toBe(404);
  await expect(page.getByRole('main').getByRole('link').first()).toBeVisible();
});

test('the page of a deleted job leads to its receipt', async ({ api, page }) => {
  const job = await api.completed('Was here');
  await api.delete(job.job_id);
  const answer = await page.goto(`/jobs/${job.job_id}`);
  expect(answer?.status()).toBe(404);
  await page.getByRole('main').getByRole('link', { name: /receipt/i }).click();
  await expect(page).toHaveURL(new RegExp(`/removals/${job.job_id}$`));
});

test('who did what to which job is in the audit', async ({ api, console, page }) => {
  const job = await api.cancelled('Audited');
  await api.delete(job.job_id);
  await console.goto('/audit');
  await expect(page.getByRole('heading', { name: 'Audit', level: 1 })).toBeVisible();
  const events = page.locator('tr, li').filter({ hasText: 'Audited' });
  for (const action of [/submit/i, /cancel/i, /delete/i]) {
    await expect(events.filter({ hasText: action }).first()).toBeVisible();
  }
  await expect(page.getByRole('main')).toContainText(/sign/i);
});
