/** Stopping a job, with proof, from the browser. */
import { changes, expect, holdBack, movableClock, test } from '../helpers/console';

test.use({ instance: 'cancel' });

const QUESTION =
  'This will stop all processing for this job. Workers will be notified to stop, and queued tasks will be removed. ' +
  'This action cannot be undone.';
/** The words of the button afterwards, as text and as its name (which has a space where the hidden part begins). */
const GONE = 'Cancelled. Cancel Job is no longer available.';
const GONE_NAME = /^Cancelled ?\. Cancel Job is no longer available\.$/;

test('a running job is stopped with proof, and the page shows the evidence', async ({ api, console, page }) => {
  const job = await api.held('Stop me', { files: 8, running: 4 });
  await console.detail(job.job_id);
  await expect(console.badge()).toHaveText('In progress');

  await console.action('Cancel Job').click();
  const dialog = console.cancelDialog();
  await expect(dialog).toBeVisible();
  await expect(dialog).toContainText(QUESTION);
  await expect(dialog.getByRole('button', { name: 'Cancel', exact: true })).toBeFocused();
  const reason = dialog.locator('textarea[name="reason"]');
  await expect(reason).toHaveAttribute('maxlength', '500');
  await reason.fill('Wrong colour profile');
  await expect(dialog).toContainText('20 / 500');
  await dialog.getByRole('button', { name: 'Confirm Cancellation' }).click();

  await expect(console.toast('Job cancelled successfully')).toBeVisible();
  expect(job.alive(), 'the toast came while processes were alive').toEqual([]);
  await expect(dialog).toHaveCount(0);
  await expect(console.badge()).toHaveText('Cancelled');
  await expect(console.action(GONE_NAME)).toBeDisabled();
  await expect(console.action(GONE_NAME)).toHaveText(GONE);
  await expect(console.action(GONE_NAME)).not.toHaveAttribute('aria-label');

  // The evidence: per run what was sent and that nothing is left; in sum what had never begun.
  const proof = page.locator('.proof');
  await expect(proof).toContainText('SIGTERM');
  await expect(proof.getByText(/^0 of \d+/)).toHaveCount(4);
  await expect(proof.locator('dl')).toContainText(/Never started\s*4/);
  await expect(page.getByText('This job was cancelled. You can delete it to free up storage.')).toBeVisible();
  const facts = page.locator('.facts').filter({ hasText: 'Cancelled at' });
  await expect(facts).toContainText('user_request');
  await expect(facts).toContainText('Wrong colour profile');
  await expect(facts).toContainText('By');

  // And the server knows the same.
  const stored = await api.job(job.job_id);
  expect(stored.phase).toBe('cancelled');
  expect(stored.cancellation?.notes).toBe('Wrong colour profile');
  expect(stored.progress).toMatchObject({ total: 8, cancelled: 8, running: 0 });
});

test('the toast of success waits for the proof; until then the page counts', async ({ api, console }) => {
  const job = await api.held('Hard to stop', { files: 2, running: 2, stubborn: true, grace: 4 });
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();

  await expect(console.action('Cancelling...').or(console.cancelDialog().getByRole('button', { name: 'Cancelling...' })).first()).toBeDisabled();
  await expect(console.page.getByText('0 of 2 stopped…').first()).toBeVisible();
  await expect(console.toast('Job cancelled successfully')).toHaveCount(0);
  expect(job.alive().length, 'the job is still there while the page waits').toBeGreaterThan(0);

  await expect(console.toast('Job cancelled successfully')).toBeVisible({ timeout: 15_000 });
  expect(job.alive()).toEqual([]);
  await expect(console.page.locator('.proof')).toContainText('SIGKILL');
});

test('Ctrl+Enter in the reason confirms', async ({ api, console }) => {
  const job = await api.held('By keyboard');
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  const reason = console.cancelDialog().locator('textarea[name="reason"]');
  await reason.fill('first line');
  await reason.press('Enter');
  await reason.pressSequentially('second line');
  await reason.press('Control+Enter');
  await expect(console.toast('Job cancelled successfully')).toBeVisible();
  expect((await api.job(job.job_id)).cancellation?.notes).toMatch(/^first line\r?\nsecond line$/);
});

test('Enter on the focused safe button and Escape change nothing', async ({ api, console, page }) => {
  const job = await api.held('Left alone');
  const sent = changes(page, `/api/jobs/${job.job_id}/cancel`);
  await console.detail(job.job_id);

  await console.action('Cancel Job').click();
  await expect(console.cancelDialog()).toBeVisible();
  await page.keyboard.press('Enter');
  await expect(page.locator('dialog')).toHaveCount(0);

  await console.action('Cancel Job').click();
  await expect(console.cancelDialog()).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.locator('dialog')).toHaveCount(0);

  await console.action('Cancel Job').click();
  await console.cancelDialog().getByRole('button', { name: 'Cancel', exact: true }).click();
  await expect(page.locator('dialog')).toHaveCount(0);

  expect(sent).toEqual([]);
  expect((await api.job(job.job_id)).phase).toBe('in_progress');
  await api.cancel(job.job_id);
});

test('a double click sends one request', async ({ api, console, page }) => {
  const job = await api.held('Clicked twice');
  const path = `/api/jobs/${job.job_id}/cancel`;
  const sent = changes(page, path);
  await console.detail(job.job_id);
  // Held back, so that the second click comes while the request runs.
  const release = await holdBack(page, path);
  await console.action('Cancel Job').click();
  const confirm = console.cancelDialog().locator('button[type="submit"]');
  await confirm.dblclick();
  await expect(console.cancelDialog().getByRole('button', { name: 'Cancelling...' })).toBeDisabled();
  // While it runs the dialog cannot be closed.
  await page.keyboard.press('Escape');
  await expect(console.cancelDialog()).toBeVisible();
  release();
  await expect(console.toast('Job cancelled successfully')).toBeVisible();
  expect(sent).toEqual([`POST ${path}`]);
});

test('a typed reason survives a failed request, and Retry sends it', async ({ api, console, page }) => {
  const job = await api.held('Network down');
  const path = `**/api/jobs/${job.job_id}/cancel`;
  await console.detail(job.job_id);
  await page.route(path, (route) => route.abort('connectionrefused'));
  await console.action('Cancel Job').click();
  const dialog = console.cancelDialog();
  const reason = dialog.locator('textarea[name="reason"]');
  await reason.fill('Typed with care');
  await dialog.getByRole('button', { name: 'Confirm Cancellation' }).click();

  await expect(dialog.getByRole('alert')).toContainText('Failed to cancel job. Please try again.');
  await expect(reason).toHaveValue('Typed with care');
  await expect(console.badge()).toHaveText('In progress');

  await page.unroute(path);
  await dialog.getByRole('button', { name: 'Retry' }).click();
  await expect(console.toast('Job cancelled successfully')).toBeVisible();
  expect((await api.job(job.job_id)).cancellation?.notes).toBe('Typed with care');
});

test('a job cancelled from elsewhere while the dialog is open is told as such', async ({ api, console }) => {
  const job = await api.held('Somebody else was faster');
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  const confirm = console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' });
  await expect(confirm).toBeVisible();
  // The page does not hear of it before the click.
  await console.page.route(`**/api/jobs/${job.job_id}`, (route) => route.abort());
  await api.cancel(job.job_id, 'from the terminal');
  await api.reaches(job.job_id, 'cancelled');
  await confirm.click();

  await expect(console.toast(/already cancelled/i)).toBeVisible();
  await console.page.unroute(`**/api/jobs/${job.job_id}`);
  await expect(console.badge()).toHaveText('Cancelled');
  await expect(console.action(GONE_NAME)).toBeDisabled();
  // The first reason stands.
  expect((await api.job(job.job_id)).cancellation?.notes).toBe('from the terminal');
});

test('a job cancelled from elsewhere changes on the open page by itself', async ({ api, console }) => {
  const job = await api.held('Watched');
  await console.detail(job.job_id);
  await expect(console.badge()).toHaveText('In progress');
  await api.cancel(job.job_id);
  await expect(console.badge()).toHaveText('Cancelled');
  await expect(console.action(GONE_NAME)).toBeDisabled();
});

test('a job is stopped from the list, and its row says so without moving', async ({ api, console }) => {
  const job = await api.held('From the list');
  await console.list();
  const height = (await console.row(job.job_id).boundingBox())?.height;
  await console.choose(job.job_id, 'Cancel Job');
  await expect(console.cancelDialog()).toContainText('From the list');
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(console.toast('Job cancelled successfully')).toBeVisible();
  await expect(console.row(job.job_id)).toHaveAttribute('data-phase', 'cancelled');
  await expect(console.row(job.job_id).locator('.badge')).toHaveText('Cancelled');
  const name = console.row(job.job_id).getByRole('link', { name: 'From the list' }).first();
  await expect(name).toHaveCSS('text-decoration-line', 'line-through');
  expect((await console.row(job.job_id).boundingBox())?.height).toBe(height);
  expect(job.alive()).toEqual([]);
});

test('completed jobs offer no cancel', async ({ api, console }) => {
  const job = await api.completed('Over');
  await console.detail(job.job_id);
  await expect(console.badge()).toHaveText('Completed');
  await expect(console.action(/cancel/i)).toHaveCount(0);
  await expect(console.action('Delete Job')).toBeEnabled();
});

test('a job stopped in the middle counts what finished, and shows what was cancelled apart from it', async ({ api, console, page }) => {
  const gate = 'case "$BELAY_NAME" in file-1.txt|file-2.txt) exit 0;; esac; exec sleep 600';
  const job = await api.submit('Half done', { command: ['sh', '-c', gate], inputs: [await api.files(6)] });
  await api.when(job.job_id, ({ progress }) => progress.succeeded === 2 && progress.running > 0);
  await api.cancel(job.job_id);
  await api.reaches(job.job_id, 'cancelled');
  await console.detail(job.job_id);
  const bar = page.getByRole('progressbar', { name: 'Progress' });
  await expect(bar).toContainText('2 / 6 files, 4 cancelled');
  await expect(bar).toContainText('33 %');
  await expect(bar).toHaveAttribute('aria-valuenow', '2');
  await expect(bar.locator('rect.cancelled')).toHaveAttribute('width', '66.67%');
  await console.list();
  await expect(console.row(job.job_id).getByRole('progressbar')).toContainText('2 / 6, 4 cancelled');
});

test('after 30 s without proof the page says who has not answered; Resend asks again, Force ends it', async ({ api, console, page }) => {
  const job = await api.held('No answer', { stubborn: true, grace: 600 });
  const path = `/api/jobs/${job.job_id}/cancel`;
  const sent = changes(page, path);
  const moveClock = await movableClock(page);
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  const dialog = console.dialog(/0 of 1 stopped…/);
  await expect(dialog).toBeVisible();
  await expect(page.getByRole('button', { name: 'Force' })).toHaveCount(0);

  await moveClock(31_000);
  const late = console.dialog('1 of 1 has not answered');
  await expect(late).toBeVisible();
  await expect(late).toContainText('Nothing is called stopped because a timer ran out');
  await expect(late.getByRole('list', { name: 'Runs that are being stopped' })).toContainText('file-1.txt');
  await late.getByRole('button', { name: 'Resend' }).click();
  await expect.poll(() => sent.length).toBe(2);
  await expect(late.getByRole('button', { name: 'Force' })).toBeEnabled({ timeout: 15_000 });
  expect(job.alive().length, 'asking again kills nothing before the grace is over').toBeGreaterThan(0);
  expect((await api.job(job.job_id)).phase).toBe('cancelling');

  await late.getByRole('button', { name: 'Force' }).click();
  await expect(console.badge()).toHaveText('Cancelled', { timeout: 20_000 });
  await expect(console.toast('Job cancelled successfully')).toBeVisible();
  expect(job.alive()).toEqual([]);
  await expect(page.locator('.proof')).toContainText('SIGKILL');
});

test('while a cancellation is pending the visitor may stay or leave, and hears of the proof either way', async ({ api, console, page }) => {
  const job = await api.held('Takes its time', { stubborn: true, grace: 7 });
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  const pending = console.dialog(/0 of 1 stopped…/);
  await expect(pending).toContainText('You may leave: the stop goes on without this page.');
  await expect(pending.getByRole('button', { name: 'Close and Keep Watching' })).toBeFocused();
  await pending.getByRole('link', { name: 'Leave' }).click();
  await expect(page).toHaveURL(/\/jobs$/);
  await expect(page.locator('dialog')).toHaveCount(0);
  await expect(console.toast(/0 of 1 stopped…/)).toBeVisible();
  await expect(console.row(job.job_id).locator('.badge')).toHaveText('Cancelling');
  await expect(console.toast('Job cancelled successfully')).toBeVisible({ timeout: 20_000 });
  await expect(console.row(job.job_id).locator('.badge')).toHaveText('Cancelled');
});

test('who may not cancel is told whom to ask', async ({ api, console, page }) => {
  const job = await api.held('Forbidden');
  const refusal = { title: 'Forbidden', status: 403, detail: 'This needs the role operator.', error: 'FORBIDDEN', request_id: 'x' };
  await page.route(`**/api/jobs/${job.job_id}/cancel`, (route) =>
    route.fulfill({ status: 403, contentType: 'application/problem+json', body: JSON.stringify(refusal) }),
  );
  await console.detail(job.job_id);
  await console.action('Cancel Job').click();
  // From now on the job says what this visitor may do with it.
  await page.route(`**/api/jobs/${job.job_id}`, async (route) => {
    const answer = await route.fetch({ headers: { ...route.request().headers(), 'if-none-match': '' } });
    const body = await answer.json();
    const no = { ok: false, why_not: refusal.detail };
    body.allowed = { cancel: no, force_cancel: no, delete: no, force_delete: no, rerun: no };
    await route.fulfill({ status: 200, contentType: 'application/json', body: JSON.stringify(body) });
  });
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(page.getByRole('alert').filter({ hasText: /ask an administrator/i })).toBeVisible();
  await expect(page.locator('dialog')).toHaveCount(0);
  await expect(console.action(/cancel|delete/i)).toHaveCount(0);
  await api.cancel(job.job_id);
});

test('a dialog whose part cannot be loaded says so, and opens once it can', async ({ api, console, page }) => {
  const job = await api.held('Late dialog');
  let isAway = true;
  await page.route('**/pkg/belay_later.*.wasm', (route) => (isAway ? route.abort() : route.continue()));
  await console.list('?q=Late dialog');
  await console.choose(job.job_id, 'Cancel Job');
  await expect(page.getByRole('alert').filter({ hasText: 'This could not be loaded.' })).toBeVisible();
  await expect(console.cancelDialog()).toHaveCount(0);
  isAway = false;
  await console.choose(job.job_id, 'Cancel Job');
  await expect(console.cancelDialog()).toBeVisible();
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(console.row(job.job_id)).toHaveAttribute('data-phase', 'cancelled');
});
