/** Batches at a provider: checked before anything is sent, followed, cancelled when the provider says so, collected; and those that
 * no job here knows. */
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import type { Page } from '@playwright/test';
import { expect, test } from '../helpers/console';
import { Provider, line } from '../helpers/provider';

test.use({ instance: 'batches' });

let provider: Provider;

test.beforeAll(async ({ server }) => {
  provider = await Provider.start();
  process.env.BELAY_E2E_KEY = 'sk-e2e';
  await appendFile(join(server.folder, 'belay.toml'), provider.config());
  await server.down();
  await server.up();
});

test.afterAll(() => provider.stop());

/** A file of requests as a browser would upload it. */
const upload = (ids: string[], extra = '') => ({
  name: 'requests.jsonl',
  mimeType: 'application/jsonl',
  buffer: Buffer.from(ids.map((id) => `${JSON.stringify(line(id))}\n`).join('') + extra),
});

const ids = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}-${index + 1}`);

/** The section with what the provider says. */
const panel = (page: Page) => page.getByRole('region', { name: 'At the provider' });

const idOf = (page: Page): string => /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(page.url())?.[0] ?? '';

test('a file is checked before anything is sent', async ({ console, page }) => {
  await console.goto('/jobs/new?kind=openai_batch');
  const file = page.getByRole('region', { name: 'The file' });
  await expect(file).toContainText('Not checked yet.');
  await page.locator('input[type=file]').setInputFiles(upload(ids('wrong', 2), 'not json\n'));
  await file.getByRole('button', { name: 'Check File' }).click();
  await expect(file).toContainText('It cannot be sent: 1 fault.');
  await expect(file.getByRole('list', { name: 'Faults by line' })).toContainText('Line 3:');
  await page.getByRole('button', { name: 'Remove requests.jsonl' }).click();
  await page.locator('input[type=file]').setInputFiles(upload(ids('right', 4)));
  await file.getByRole('button', { name: 'Check File' }).click();
  await expect(file).toContainText('It can be sent.');
  await expect(file).toContainText('gpt-4o-mini');
  await expect(file.locator('dt', { hasText: 'Output tokens, at most' }).locator('+ dd')).toHaveText('200');
  await expect(file.locator('dt', { hasText: 'Cost, estimated' }).locator('+ dd')).toHaveText(/^((under )?\$[\d.]+ to (under )?\$[\d.]+ \(.+\)|unknown)$/);
  expect(provider.changes, 'nothing went to the provider').toEqual([]);
  expect(await console.axe()).toEqual([]);
});

test('a batch is followed, cancelled when the provider says so, and what it had done is collected', async ({ api, console, page }) => {
  test.setTimeout(120_000);
  await console.goto('/jobs/new?kind=openai_batch');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Descriptions');
  await page.locator('input[type=file]').setInputFiles(upload(ids('sku', 5)));
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  const id = idOf(page);
  await console.detail(id);
  await expect(panel(page)).toContainText('in_progress', { timeout: 30_000 });
  await expect(panel(page)).toContainText('0 of 5 done');
  await expect(panel(page)).toContainText(/Deadline\s*in 23 h/);
  const batch = provider.batches.at(-1)!;
  provider.progress(batch, 2);
  await panel(page).getByRole('button', { name: 'Ask Now' }).click();
  await console.live();
  await expect(panel(page)).toContainText('2 of 5 done');

  await console.action('Cancel Job').click();
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(panel(page)).toContainText('cancelling', { timeout: 20_000 });
  await expect(panel(page)).toContainText('That may take ten minutes');
  expect((await api.job(id)).phase, 'not before the provider says so').toBe('cancelling');
  provider.end(batch, 'cancelled');
  await expect(console.badge()).toHaveText('Cancelled', { timeout: 60_000 });
  await console.detail(id);
  await expect(panel(page)).toContainText('The provider says that the batch is cancelled.');
  await expect(panel(page)).toContainText('Saved by cancelling');
  expect(provider.changes.filter((change) => change === `POST /v1/batches/${batch.id}/cancel`)).toHaveLength(1);

  const results = page.getByRole('region', { name: 'Results', exact: true });
  await expect(results.locator('tr[data-request-id]')).toHaveCount(5);
  await expect(results.locator('tr[data-request-id="sku-1"]')).toContainText('All about sku-1.');
  await results.getByRole('link', { name: /^Succeeded/ }).click();
  await expect(results.locator('tr[data-request-id]')).toHaveCount(2);
  await expect(page).toHaveURL(/result=succeeded/);
  await console.reload();
  await expect(results.locator('tr[data-request-id]')).toHaveCount(2);
  const [csv] = await Promise.all([page.waitForEvent('download'), results.getByRole('link', { name: 'requests.csv' }).click()]);
  expect(readFileSync(await csv.path(), 'utf8')).toContain('sku-1,succeeded');
  expect(await console.axe()).toEqual([]);
  await page.setViewportSize({ width: 320, height: 640 });
  expect(await console.scrollsSideways()).toBe(false);
});

for (const javaScriptEnabled of [true, false]) {
  test.describe(javaScriptEnabled ? 'with scripts' : 'without any script', () => {
    test.use({ javaScriptEnabled, contextOptions: { reducedMotion: 'reduce' } });

    test('a batch that no job knows is adopted, another one cancelled', async ({ api, console, page }) => {
      const [adopted, cancelled] = [provider.foreign(), provider.foreign()];
      await page.goto('/providers');
      if (javaScriptEnabled) await console.live();
      await page.getByRole('link', { name: 'Show Its Batches' }).click();
      const row = (id: string) => page.locator(`tr[data-batch-id="${id}"]`);
      await expect(row(adopted.id)).toHaveAttribute('data-owner', 'orphan');
      if (javaScriptEnabled) expect(await console.axe()).toEqual([]);
      await row(adopted.id).getByRole('button', { name: 'Adopt' }).click();
      await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
      const id = idOf(page);
      await expect(panel(page)).toContainText(adopted.id);
      await expect(panel(page)).toContainText('not from here: it was adopted');

      await page.goto('/providers?provider=openai');
      await expect(row(adopted.id)).toHaveAttribute('data-owner', 'job');
      await row(cancelled.id).getByText('Cancel…').click();
      await row(cancelled.id).getByRole('button', { name: 'Cancel Batch' }).click();
      await expect(row(cancelled.id)).toContainText('cancelling');
      expect(provider.changes).toContain(`POST /v1/batches/${cancelled.id}/cancel`);
      expect(provider.changes).not.toContain(`POST /v1/batches/${adopted.id}/cancel`);
      provider.end(adopted, 'completed');
      await api.reaches(id, 'completed');
    });
  });
}

test('a refused import is told on its page, and no more when that was left', async ({ console, page }) => {
  await console.goto('/providers');
  await page.getByLabel('Files of another tool').setInputFiles({ name: 'records.txt', mimeType: 'text/plain', buffer: Buffer.from('{}') });
  await page.getByRole('button', { name: 'Import' }).click();
  const told = page.getByRole('alert').filter({ hasText: 'no JSON file by its name' });
  await expect(told).toBeVisible();
  await console.live();
  await expect(told, 'also when the page is live').toBeVisible();
  await page.getByRole('link', { name: 'Removals' }).click();
  await expect(page.getByRole('heading', { name: 'Removals', level: 1 })).toBeVisible();
  await page.getByRole('link', { name: 'Providers' }).click();
  await expect(page.getByRole('heading', { name: 'Import Records' })).toBeVisible();
  await expect(told).toHaveCount(0);
});
