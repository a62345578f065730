/** Starting a job, following it in its panel, and what it leaves. */
import { expect, holdBack, test } from '../helpers/console';

test.use({ instance: 'new_job' });

function idOf(url: string): string {
  return /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(url)?.[0] ?? '';
}

test('a job over a folder of the server runs to its end in the progress panel', async ({ api, console, page, server }) => {
  for (let index = 0; index < 5; index += 1) server.file(`shelf/book-${index}.txt`);
  await console.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Checksums of the shelf');
  await page.getByLabel('Preset', { exact: true }).selectOption('sha256');
  await page.getByLabel('Files and folders on the server').fill('shelf');
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  const panel = page.getByRole('dialog');
  await expect(panel).toContainText('5 / 5 files');
  await expect(panel).toContainText('book-4.txt');
  await expect(panel.getByRole('button', { name: 'Close' })).toBeVisible();
  await panel.getByRole('button', { name: 'Close' }).click();
  await expect(page.locator('dialog')).toHaveCount(0);
  expect((await api.job(idOf(page.url()))).phase).toBe('completed');
});

test('files are uploaded, run, and are there as inputs', async ({ api, console, page }) => {
  await console.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Uploaded by hand');
  await page.getByLabel('Preset', { exact: true }).selectOption('sha256');
  await page.locator('input[type="file"]').setInputFiles([
    { name: 'one.txt', mimeType: 'text/plain', buffer: Buffer.from('one') },
    { name: 'two words.txt', mimeType: 'text/plain', buffer: Buffer.from('two') },
    { name: 'three.txt', mimeType: 'text/plain', buffer: Buffer.from('three') },
  ]);
  await expect(page.getByText('two words.txt')).toBeVisible();
  await page.getByRole('button', { name: 'Remove three.txt' }).click();
  await expect(page.getByText('three.txt')).toHaveCount(0);
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  const job = await api.reaches(idOf(page.url()), 'completed');
  expect(job.progress).toMatchObject({ total: 2, succeeded: 2 });
  const plan = await api.plan(job.job_id);
  expect(plan.items.find((line) => line.category === 'inputs')).toMatchObject({ items: 2 });
});

test('files can be dropped on the form', async ({ api, console, page }) => {
  await console.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Dropped');
  await page.getByLabel('Preset', { exact: true }).selectOption('sha256');
  const files = await page.evaluateHandle(() => {
    const transfer = new DataTransfer();
    transfer.items.add(new File(['dropped'], 'dropped.txt', { type: 'text/plain' }));
    return transfer;
  });
  await page.locator('.drop').dispatchEvent('drop', { dataTransfer: files });
  await expect(page.getByText('dropped.txt')).toBeVisible();
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  const job = await api.reaches(idOf(page.url()), 'completed');
  expect(job.progress.total).toBe(1);
});

test('a refused job keeps what was typed and says what to change', async ({ api, console, page }) => {
  await console.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Goes nowhere');
  await page.getByLabel('Preset', { exact: true }).selectOption('sha256');
  await page.getByLabel('Files and folders on the server').fill('../../etc');
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page.getByRole('alert').first()).toBeVisible();
  await expect(page.getByRole('textbox', { name: 'Name', exact: true })).toHaveValue('Goes nowhere');
  await expect(page.getByLabel('Files and folders on the server')).toHaveValue('../../etc');
  await expect(page).toHaveURL(/\/jobs\/new/);
  const answer = await api.request('GET', '/api/jobs?q=Goes+nowhere');
  expect((await answer.json()).items).toEqual([]);
});

test('an upload that is too large is refused before it is sent', async ({ console, page }) => {
  await console.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Too large');
  await page.getByLabel('Preset', { exact: true }).selectOption('sha256');
  await page.locator('input[type="file"]').setInputFiles([
    { name: 'large.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(11 * 1024 * 1024) },
  ]);
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page.getByRole('alert').first()).toContainText(/large|limit|at most/i);
  await expect(page).toHaveURL(/\/jobs\/new/);
});

test('reloading the page resumes the panel; a proven stop closes it with one warning', async ({ api, console, page, server }) => {
  for (let index = 0; index < 6; index += 1) server.file(`queue/item-${index}.txt`);
  await console.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Reloaded in between');
  await page.getByLabel('Preset', { exact: true }).selectOption('slow');
  await page.getByLabel('Files and folders on the server').fill('queue');
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  const id = idOf(page.url());
  const panel = page.getByRole('dialog');
  await expect(panel).toContainText('0 / 6 files');

  await console.reload();
  await expect(panel).toContainText('0 / 6 files');
  await panel.getByRole('button', { name: 'Cancel Job' }).click();
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(console.toast('Job was cancelled')).toBeVisible();
  await expect(page.locator('dialog')).toHaveCount(0);
  expect((await api.job(id)).phase).toBe('cancelled');

  await console.reload();
  await expect(console.badge()).toHaveText('Cancelled');
  await expect(console.toast('Job was cancelled')).toHaveCount(0);
  await expect(page.locator('dialog')).toHaveCount(0);
});

test('a stop that came while the page was away is told once after the reload', async ({ api, console, page, server }) => {
  server.file('away/item.txt');
  await console.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Away');
  await page.getByLabel('Preset', { exact: true }).selectOption('slow');
  await page.getByLabel('Files and folders on the server').fill('away');
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page.getByRole('dialog')).toContainText('0 / 1 file');
  const url = page.url();
  await page.goto('about:blank');
  await api.cancel(idOf(url));
  await api.reaches(idOf(url), 'cancelled');
  await console.goto(url);
  await expect(console.toast('Job was cancelled')).toBeVisible();
  await console.reload();
  await expect(console.badge()).toHaveText('Cancelled');
  await expect(console.toast('Job was cancelled')).toHaveCount(0);
});

test('what a job made is served as a download that can do nothing, and images as images', async ({ api, console, page, server }) => {
  const script = '<script>document.title = "taken over"</script>';
  server.file('made/evil.html', script);
  const pixel = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  );
  server.file('made/pixel.png', pixel);
  const job = await api.submit('Hostile artifacts', {
    command: ['cp', '{file}', '{out}/'],
    inputs: ['made'],
  });
  await api.reaches(job.job_id, 'completed');
  await console.detail(job.job_id);

  const link = page.getByRole('link', { name: 'Download evil.html' });
  const href = (await link.getAttribute('href')) ?? '';
  const answer = await page.request.get(server.url + href);
  expect(answer.status()).toBe(200);
  expect(answer.headers()['content-disposition']).toMatch(/^attachment/);
  expect(answer.headers()['x-content-type-options']).toBe('nosniff');
  expect(answer.headers()['content-security-policy']).toContain('sandbox');
  expect(await answer.text()).toBe(script);
  const download = page.waitForEvent('download');
  await link.click();
  expect((await download).suggestedFilename()).toBe('evil.html');
  await expect(page).not.toHaveTitle('taken over');

  const image = page.locator('img[src*="pixel.png"]');
  await expect(image).toBeVisible();
  await expect.poll(() => image.evaluate((element) => (element as HTMLImageElement).naturalWidth)).toBe(1);
  await expect(image).toHaveAttribute('alt', /./);
});

test('names with markup and odd characters are shown as they are', async ({ api, console, page, server }) => {
  server.file('odd/<b>bold</b> & "quotes" \u202e.txt');
  const job = await api.submit('<img src=x onerror=alert(1)>', { preset: 'sha256', inputs: ['odd'] });
  await api.reaches(job.job_id, 'completed');
  await console.list();
  await expect(console.row(job.job_id)).toContainText('<img src=x onerror=alert(1)>');
  await console.detail(job.job_id);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('<img src=x onerror=alert(1)>');
  await expect(page.getByText('<b>bold</b> & "quotes"').first()).toBeVisible();
  await expect(page.locator('main b', { hasText: /^bold$/ })).toHaveCount(0);
});

test('a job is run again as a new one', async ({ api, console, page }) => {
  const job = await api.completed('Once more', 2);
  await console.detail(job.job_id);
  await console.action('Run Again').click();
  await expect(page).not.toHaveURL(new RegExp(job.job_id));
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  const again = await api.reaches(idOf(page.url()), 'completed');
  expect(again.progress.total).toBe(2);
});

test('only what did not succeed is run again by its own button', async ({ api, console, page }) => {
  const command = ['sh', '-c', 'case "$BELAY_NAME" in file-2.txt|file-4.txt) exit 3;; esac'];
  const job = await api.submit('Two of four fail', { command, inputs: [await api.files(4)] });
  await api.reaches(job.job_id, 'partial');
  await console.detail(job.job_id);
  await expect(console.action('Run Again')).toBeEnabled();
  await console.action('Run 2 Unfinished').click();
  await expect(page).not.toHaveURL(new RegExp(job.job_id));
  const rerun = await api.reaches(idOf(page.url()), 'failed');
  expect(rerun.progress).toMatchObject({ total: 2, failed: 2 });
  // Nothing of it succeeded: the whole and the rest are the same, so there is one button.
  await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();
  await expect(console.action('Run Again')).toBeEnabled();
  await expect(console.action(/Unfinished/)).toHaveCount(0);
});

test('the progress panel lists the units that finished last, the latest first', async ({ api, console, page }) => {
  const script = 'case "$BELAY_NAME" in file-130.txt) sleep 600;; esac';
  const job = await api.submit('Many files', { command: ['sh', '-c', script], inputs: [await api.files(130)], parallel: 2 });
  await api.when(job.job_id, ({ progress }) => progress.succeeded === 129);
  await console.goto(`/jobs/${job.job_id}?panel=1`);
  const list = page.getByRole('dialog').getByRole('list', { name: 'Finished last' });
  await expect(list.getByRole('listitem').first()).toContainText(/file-12[89]\.txt/);
  await expect(list.getByText('file-001.txt')).toHaveCount(0);
  await api.cancel(job.job_id);
});

test('leaving while an upload runs asks first', async ({ console, page }) => {
  await console.goto('/jobs/new');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('On its way');
  await page.getByLabel('Preset', { exact: true }).selectOption('sha256');
  await page.locator('input[type="file"]').setInputFiles([{ name: 'a.txt', mimeType: 'text/plain', buffer: Buffer.from('a') }]);
  const release = await holdBack(page, '/api/jobs');
  const asked: string[] = [];
  page.on('dialog', (dialog) => {
    asked.push(dialog.type());
    void dialog.dismiss();
  });
  // Nothing is sent yet: nobody is asked.
  await page.evaluate(() => window.dispatchEvent(new Event('beforeunload', { cancelable: true })));
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page.getByRole('dialog')).toBeVisible();
  await page.close({ runBeforeUnload: true });
  await expect.poll(() => asked).toEqual(['beforeunload']);
  expect(page.isClosed()).toBe(false);
  release();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  // It is over: the page can be left without a question.
  await page.goto('/jobs');
  expect(asked).toHaveLength(1);
});
