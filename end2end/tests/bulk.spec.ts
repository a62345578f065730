/** Many jobs at once: ticked in the list, asked about with a dry run, acted on, looked at. */
import type { Locator, Page } from '@playwright/test';

import type { Api } from '../helpers/api';
import type { Console } from '../helpers/console';
import { expect, test } from '../helpers/console';

test.use({ instance: 'bulk' });

const box = (console: Console, id: string): Locator => console.row(id).getByRole('checkbox');
const bar = (page: Page): Locator => page.getByRole('region', { name: 'Selected jobs' });
const wholePage = (page: Page): Locator => page.getByRole('checkbox', { name: 'Select every job on this page' });

/** Jobs of no work that have ended. The list shows the last one first. */
async function ended(api: Api, name: string, count: number): Promise<string[]> {
  const folder = await api.files(1);
  const jobs = [];
  for (let index = 0; index < count; index += 1) jobs.push(await api.submit(`${name} ${index}`, { command: ['true', '{file}'], inputs: [folder] }));
  for (const job of jobs) await api.reaches(job.job_id, 'completed');
  return jobs.map((job) => job.job_id);
}

/** The page of an action on many jobs that has ended. */
async function over(page: Page, title: string | RegExp): Promise<void> {
  await expect(page).toHaveURL(/\/bulk\/[0-9a-f-]{36}$/);
  await expect(page.getByRole('heading', { name: title, level: 1 })).toBeVisible();
  await expect(page.locator('.page-head .badge')).toHaveText('Done');
}

test('shift-click ticks a range, and what is ticked is counted by what can be done with it', async ({ api, console, page }) => {
  const ids = await ended(api, 'Range', 4);
  const held = await api.held('Range held');
  await console.list('?q=Range');
  await box(console, held.job_id).click();
  await expect(bar(page)).toContainText('1 selected · 1 can be cancelled, 0 deleted');
  await box(console, ids[1]).click({ modifiers: ['Shift'] });
  await expect(bar(page)).toContainText('4 selected · 1 can be cancelled, 3 deleted');
  await expect(box(console, ids[0])).not.toBeChecked();
  await expect(bar(page).getByRole('button', { name: 'Cancel 1 Job' })).toBeVisible();
  await expect(bar(page).getByRole('button', { name: 'Delete 3 Jobs' })).toBeVisible();
  await box(console, ids[2]).click({ modifiers: ['Shift'] });
  await expect(bar(page), 'from the last box to this one, off').toContainText('2 selected');
  await wholePage(page).click();
  await expect(bar(page)).toContainText('5 selected');
  await bar(page).getByRole('button', { name: 'Clear' }).click();
  await expect(bar(page)).toBeHidden();
  await expect(page.locator('td .check:checked')).toHaveCount(0);
  await api.cancel(held.job_id);
});

test('a selected job stays selected through a poll, a change of phase, and when its row leaves the page', async ({ api, console, page }) => {
  const held = await api.held('Stays ticked');
  const [other] = await ended(api, 'Other ticked', 1);
  await console.list('?q=ticked');
  await box(console, held.job_id).check();
  held.release();
  await expect(console.row(held.job_id)).toHaveAttribute('data-phase', 'completed');
  await expect(box(console, held.job_id)).toBeChecked();
  await expect(bar(page)).toContainText('1 selected · 0 can be cancelled, 1 deleted');
  await page.getByRole('searchbox').fill('Other ticked');
  await expect(console.row(held.job_id)).toHaveCount(0);
  await expect(bar(page)).toContainText('1 selected, 1 not on this page');
  await box(console, other).check();
  await expect(bar(page)).toContainText('2 selected, 1 not on this page');
  await expect(page.locator('[aria-live="polite"].sr-only')).toHaveText('2 jobs selected');
});

test('a box that is ticked before the page is live stays ticked', async ({ api, console, page }) => {
  const [id] = await ended(api, 'Early tick', 1);
  let release = () => {};
  const held = new Promise<void>((done) => (release = done));
  await page.route('**/*.wasm', async (route) => {
    await held;
    await route.continue();
  });
  await page.goto('/jobs?q=Early+tick');
  await box(console, id).check();
  release();
  await console.live();
  await expect(box(console, id)).toBeChecked();
  await expect(bar(page)).toContainText('1 selected · 0 can be cancelled, 1 deleted');
});

test('running jobs are cancelled after a dry run that says what each comes to', async ({ api, console, page }) => {
  const [done] = await ended(api, 'Mixed done', 1);
  const [one, two] = [await api.held('Mixed one'), await api.held('Mixed two')];
  await console.list('?q=Mixed');
  await wholePage(page).click();
  await bar(page).getByRole('button', { name: 'Cancel 2 Jobs' }).click();
  const dialog = console.dialog('Cancel 2 Jobs?');
  await expect(dialog).toBeVisible();
  await expect(dialog.getByRole('row', { name: 'Will be cancelled 2' })).toBeVisible();
  await expect(dialog.getByRole('row', { name: 'Have ended already 1' })).toBeVisible();
  await expect(dialog.getByRole('button', { name: 'Cancel', exact: true })).toBeFocused();
  expect((await api.job(one.job_id)).phase).toBe('in_progress');
  await dialog.getByLabel(/^Reason/).fill('wrong input');
  await dialog.getByRole('button', { name: 'Confirm Cancellation' }).click();
  await over(page, 'Cancel of 3 jobs');
  await expect(page.locator(`tr[data-job-id="${one.job_id}"]`)).toHaveAttribute('data-result', 'done');
  await expect(page.locator(`tr[data-job-id="${done}"]`)).toHaveAttribute('data-result', 'already_done');
  expect([...one.alive(), ...two.alive()]).toEqual([]);
  expect((await api.job(two.job_id)).cancellation?.notes).toBe('wrong input');
  await page.getByRole('link', { name: /^Already over/ }).click();
  await expect(page.locator('tr[data-job-id]')).toHaveCount(1);
});

test('all that match the filter are selected, and more than 20 want their number typed', async ({ api, console, page }) => {
  const ids = await ended(api, 'Many', 24);
  await console.list('?q=Many&limit=10');
  await wholePage(page).click();
  await expect(bar(page)).toContainText('10 selected');
  await bar(page).getByRole('button', { name: 'Select all that match' }).click();
  await expect(bar(page)).toContainText('24 selected, 14 not on this page');
  // One of them is spared.
  await box(console, ids[23]).uncheck();
  await bar(page).getByRole('button', { name: 'Delete 23 Jobs' }).click();
  const dialog = console.dialog('Delete 23 Jobs?');
  await expect(dialog.getByText(/^Frees .+ on disk\.$/)).toBeVisible();
  const confirm = dialog.getByRole('button', { name: 'Delete Permanently' });
  await confirm.click();
  await expect(dialog, 'no number').toBeVisible();
  await dialog.getByRole('textbox', { name: /^Type 23/ }).fill('24');
  await confirm.click();
  await expect(dialog, 'the wrong number').toBeVisible();
  await dialog.getByRole('textbox', { name: /^Type 23/ }).fill('23');
  await confirm.click();
  await over(page, 'Delete of 23 jobs');
  await expect(page.getByText(/^23 of 23 jobs have their result, .+ freed\.$/)).toBeVisible();
  await page.goto('/jobs?q=Many');
  await expect(page.locator('tr[data-job-id]')).toHaveCount(1);
  await expect(console.row(ids[23])).toBeVisible();
});

test('an active job is deleted only with force, which wants the number typed', async ({ api, console, page }) => {
  const held = await api.held('Forced one');
  await ended(api, 'Forced done', 1);
  await console.list('?q=Forced');
  await wholePage(page).click();
  await bar(page).getByRole('button', { name: 'Delete 1 Job' }).click();
  await expect(console.dialog('Delete 1 Job?').getByRole('row', { name: 'Still active, need force 1' })).toBeVisible();
  await expect(page.getByRole('textbox', { name: /^Type/ })).toHaveCount(0);
  await page.getByRole('checkbox', { name: /^Stop 1 active job first/ }).check();
  const dialog = console.dialog('Delete 2 Jobs?');
  await dialog.getByRole('textbox', { name: /^Type 2/ }).fill('2');
  await dialog.getByRole('button', { name: 'Delete Permanently' }).click();
  await over(page, 'Delete of 2 jobs');
  expect(held.alive()).toEqual([]);
  expect((await api.request('GET', `/api/jobs/${held.job_id}`)).status).toBe(404);
});

test('a request that fails keeps the dialog and what was typed, and Escape gives the focus back', async ({ api, console, page }) => {
  const held = await api.held('Unreachable bulk');
  await console.list('?q=Unreachable');
  await box(console, held.job_id).check();
  const button = bar(page).getByRole('button', { name: 'Cancel 1 Job' });
  await button.click();
  const dialog = console.dialog('Cancel 1 Job?');
  await dialog.getByLabel(/^Reason/).fill('kept');
  await page.route('**/api/bulk', (route) => route.abort());
  await dialog.getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(dialog.getByRole('alert')).toContainText('The server cannot be reached.');
  await expect(dialog.getByLabel(/^Reason/)).toHaveValue('kept');
  await page.keyboard.press('Escape');
  await expect(dialog).toHaveCount(0);
  await expect(button).toBeFocused();
  await expect(bar(page)).toContainText('1 selected');
  await page.unrouteAll();
  await api.cancel(held.job_id);
});

test('by keyboard alone', async ({ api, console, page }) => {
  const ids = await ended(api, 'Keys', 3);
  await console.list('?q=Keys');
  await box(console, ids[2]).focus();
  await page.keyboard.press('Space');
  await box(console, ids[0]).focus();
  await page.keyboard.press('Shift+Space');
  await expect(bar(page)).toContainText('3 selected');
  await bar(page).getByRole('button', { name: 'Delete 3 Jobs' }).focus();
  await page.keyboard.press('Enter');
  const dialog = console.dialog('Delete 3 Jobs?');
  await expect(dialog.getByText(/^Frees/)).toBeVisible();
  await dialog.getByRole('button', { name: 'Delete Permanently' }).focus();
  await page.keyboard.press('Enter');
  await over(page, 'Delete of 3 jobs');
});

test('what is not begun can be aborted', async ({ api, console, page }) => {
  const ids = await ended(api, 'Abort', 45);
  // The first of the selection; its stop comes late, and the next batch of removals after it.
  const stubborn = await api.held('Abort resists', { stubborn: true, grace: 4 });
  await console.list('?q=Abort&limit=60');
  await wholePage(page).click();
  await bar(page).getByRole('button', { name: 'Delete 45 Jobs' }).click();
  await page.getByRole('checkbox', { name: /^Stop 1 active job first/ }).check();
  const dialog = console.dialog('Delete 46 Jobs?');
  await dialog.getByRole('textbox', { name: /^Type 46/ }).fill('46');
  await dialog.getByRole('button', { name: 'Delete Permanently' }).click();
  await expect(page.locator('.page-head .badge')).toHaveText('Running');
  await page.getByRole('button', { name: 'Abort' }).click();
  await expect(page.getByText('Nothing more of this is begun.')).toBeVisible();
  await expect(page.locator('.page-head .badge')).toHaveText('Aborted');
  await page.getByRole('link', { name: /^Not begun/ }).click();
  await expect(page.locator('tr[data-result="aborted"]')).toHaveCount(6);
  expect(stubborn.alive()).toEqual([]);
  for (const id of ids.slice(0, 6)) expect((await api.job(id)).phase).toBe('completed');
});

test('a stop whose proof is late fails, is tried again, and the page follows it', async ({ api, console, page }) => {
  test.setTimeout(120_000);
  const stubborn = await api.held('Retry resists', { stubborn: true, grace: 36 });
  await console.list('?q=Retry');
  await box(console, stubborn.job_id).check();
  await bar(page).getByRole('button', { name: 'Cancel 1 Job' }).click();
  await console.dialog('Cancel 1 Job?').getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(page.locator('tr[data-result="working"]')).toHaveCount(1);
  // After 30 s without proof.
  await expect(page.locator('tr[data-result="failed"]')).toHaveCount(1, { timeout: 40_000 });
  await expect(page.getByRole('cell', { name: /^Its stop is not proven yet; the job waits on\./ })).toBeVisible();
  const first = page.url();
  await page.getByRole('button', { name: 'Retry 1 failed job' }).click();
  await expect(page.getByRole('link', { name: 'Tries again what failed' })).toHaveAttribute('href', new URL(first).pathname);
  await expect(page.locator('tr[data-result="done"]')).toHaveCount(1, { timeout: 20_000 });
  await over(page, 'Cancel of 1 job');
  expect(stubborn.alive()).toEqual([]);
});

for (const colorScheme of ['light', 'dark'] as const) {
  test.describe(`axe finds nothing in ${colorScheme}`, () => {
    test.use({ colorScheme, contextOptions: { reducedMotion: 'reduce' } });
    test('in bar, dialog, question and result, and nothing scrolls sideways at 320 px', async ({ api, console, page }) => {
      test.slow();
      const held = await api.held(`Looked at in ${colorScheme}`);
      await ended(api, `Also looked at in ${colorScheme}`, 1);
      const sound = async (name: string) => {
        expect.soft(await console.axe(), name).toEqual([]);
        await page.setViewportSize({ width: 320, height: 640 });
        expect.soft(await console.scrollsSideways(), name).toBe(false);
        expect.soft(await console.axe(), `${name}, narrow`).toEqual([]);
        await page.setViewportSize({ width: 1440, height: 900 });
      };
      await console.list(`?q=looked+at+in+${colorScheme}`);
      await wholePage(page).click();
      await expect(bar(page)).toContainText('2 selected');
      await sound('bar');
      await bar(page).getByRole('button', { name: 'Delete 1 Job' }).click();
      await page.getByRole('checkbox', { name: /^Stop 1 active job first/ }).check();
      const dialog = console.dialog('Delete 2 Jobs?');
      await expect(dialog).toBeVisible();
      await sound('dialog');
      await console.goto(`/bulk/new?action=delete&force=true&all=true&q=looked+at+in+${colorScheme}`);
      await expect(page.getByRole('heading', { name: 'Delete 2 Jobs?' })).toBeVisible();
      await sound('question');
      await page.getByRole('textbox', { name: /^Type 2/ }).fill('2');
      await page.getByRole('button', { name: 'Delete Permanently' }).click();
      await over(page, 'Delete of 2 jobs');
      await console.live();
      await sound('result');
      expect(held.alive()).toEqual([]);
    });
  });
}

test.describe('without any script', () => {
  test.use({ javaScriptEnabled: false, contextOptions: { reducedMotion: 'reduce' } });

  test('the bar shows with a ticked box, and the question is a page', async ({ api, console, page }) => {
    const [one, two] = [await api.held('Plain one'), await api.held('Plain two')];
    await console.list('?q=Plain');
    await expect(bar(page)).toBeHidden();
    await box(console, one.job_id).check();
    await expect(bar(page)).toBeVisible();
    await bar(page).getByRole('button', { name: 'Cancel Jobs' }).click();
    await expect(page.getByRole('heading', { name: 'Cancel 1 Job?' })).toBeVisible();
    await page.getByLabel(/^Reason/).fill('by hand');
    await page.getByRole('button', { name: 'Confirm Cancellation' }).click();
    await expect(page).toHaveURL(/\/bulk\/[0-9a-f-]{36}$/);
    expect((await api.reaches(one.job_id, 'cancelled')).cancellation?.notes).toBe('by hand');
    expect((await api.job(two.job_id)).phase).toBe('in_progress');
    await api.cancel(two.job_id);
  });

  test('the whole page, then all that match, are deleted by force when the number is typed', async ({ api, console, page }) => {
    const held = await api.held('Swept held');
    await ended(api, 'Swept', 3);
    await console.list('?q=Swept&limit=2');
    await wholePage(page).check();
    await bar(page).getByRole('button', { name: 'Delete Jobs' }).click();
    await expect(page.getByRole('heading', { name: 'Delete 2 Jobs?' })).toBeVisible();
    await page.goBack();
    await wholePage(page).check();
    await bar(page).getByRole('checkbox', { name: /that match the filter$/ }).check();
    await bar(page).getByRole('button', { name: 'Delete Jobs' }).click();
    await expect(page.getByRole('heading', { name: 'Delete 3 Jobs?' })).toBeVisible();
    await page.getByRole('link', { name: /^Stop 1 active job first/ }).click();
    await expect(page.getByRole('heading', { name: 'Delete 4 Jobs?' })).toBeVisible();
    await page.getByRole('textbox', { name: /^Type 4/ }).fill('4');
    await page.getByRole('button', { name: 'Delete Permanently' }).click();
    await expect(page).toHaveURL(/\/bulk\/[0-9a-f-]{36}$/);
    await expect.poll(async () => (await api.request('GET', `/api/jobs/${held.job_id}`)).status).toBe(404);
    expect(held.alive()).toEqual([]);
    await console.list('?q=Swept');
    await expect(page.locator('tr[data-job-id]')).toHaveCount(0);
  });
});
