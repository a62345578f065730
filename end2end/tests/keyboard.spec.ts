/** The console without a pointer. */
import type { Page } from '@playwright/test';

import { expect, test } from '../helpers/console';

test.use({ instance: 'keyboard' });

/** Presses Tab until `reached` holds, as a person does who looks for something. */
async function tabTo(page: Page, what: string, reached: (element: Element) => boolean): Promise<void> {
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press('Tab');
    const there = await page.evaluate(
      `(${reached.toString()})(document.activeElement ?? document.body)`,
    );
    if (there === true) return;
  }
  throw new Error(`80 times Tab did not lead to ${what}`);
}

test('the first Tab offers to skip to the content', async ({ console, page }) => {
  await console.list();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to content' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/#main$/);
});

test('a job is stopped from the menu of its row with keys alone', async ({ api, console, page }) => {
  const job = await api.held('Keys alone');
  await console.list();
  await tabTo(page, 'the menu of the row', (element) => element.getAttribute('aria-label') === 'Actions for Keys alone');
  const opener = console.row(job.job_id).getByLabel('Actions for Keys alone');
  await page.keyboard.press('Enter');
  const menu = console.row(job.job_id).locator('details[open]');
  await expect(menu).toBeVisible();

  // Escape closes it and leaves the focus where it was.
  await page.keyboard.press('Escape');
  await expect(menu).toHaveCount(0);
  await expect(opener).toBeFocused();

  await page.keyboard.press('Enter');
  await expect(menu).toBeVisible();
  await page.keyboard.press('ArrowDown');
  await expect.poll(() => page.evaluate(() => document.activeElement?.textContent)).toContain('Cancel Job');
  await page.keyboard.press('Enter');
  const dialog = console.cancelDialog();
  const safe = dialog.getByRole('button', { name: 'Cancel', exact: true });
  await expect(safe).toBeFocused();

  // Focus stays inside, forwards and backwards.
  for (const key of ['Tab', 'Tab', 'Tab', 'Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab']) {
    await page.keyboard.press(key);
    const outside = await page.evaluate(() => {
      const active = document.activeElement;
      return active !== null && active !== document.body && active.closest('dialog') === null;
    });
    expect(outside, `${key} left the dialog`).toBe(false);
  }

  // Closing gives the focus back to what opened it.
  await page.keyboard.press('Escape');
  await expect(page.locator('dialog')).toHaveCount(0);
  await expect
    .poll(() => page.evaluate(() => document.activeElement?.closest('tr')?.getAttribute('data-job-id')))
    .toBe(job.job_id);

  await opener.focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await expect(safe).toBeFocused();
  await tabTo(page, 'the confirmation', (element) => (element.textContent ?? '').includes('Confirm Cancellation'));
  await page.keyboard.press('Enter');
  await expect(console.toast('Job cancelled successfully')).toBeVisible();
  expect(job.alive()).toEqual([]);
});

test('the focus returns to the button of the detail page that opened the dialog', async ({ api, console, page }) => {
  const job = await api.completed('Focus comes back');
  await console.detail(job.job_id);
  const opener = console.action('Delete Job');
  await opener.focus();
  await page.keyboard.press('Enter');
  await expect(console.deleteDialog().getByRole('button', { name: 'Cancel', exact: true })).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(page.locator('dialog')).toHaveCount(0);
  await expect(opener).toBeFocused();
});

test('a job is deleted with keys alone', async ({ api, console, page }) => {
  const job = await api.completed('Deleted by keys');
  await console.detail(job.job_id);
  await tabTo(page, 'Delete Job', (element) => (element.textContent ?? '').trim() === 'Delete Job');
  await page.keyboard.press('Enter');
  await expect(console.deleteDialog().locator('table')).toBeVisible();
  await tabTo(page, 'Delete Permanently', (element) => (element.textContent ?? '').includes('Delete Permanently'));
  await page.keyboard.press('Enter');
  await expect(console.toast('Job deleted successfully')).toBeVisible();
  await expect(page).toHaveURL(/\/jobs$/);
  await expect(console.row(job.job_id)).toHaveCount(0);
});

test('what has the focus is seen to have it', async ({ api, console, page }) => {
  const job = await api.completed('Focus ring');
  await console.detail(job.job_id);
  await tabTo(page, 'Delete Job', (element) => (element.textContent ?? '').trim() === 'Delete Job');
  const ring = await page.evaluate(() => {
    const style = getComputedStyle(document.activeElement ?? document.body);
    return { outline: style.outlineStyle, width: parseFloat(style.outlineWidth), shadow: style.boxShadow };
  });
  expect(ring.shadow !== 'none' || (ring.outline !== 'none' && ring.width >= 2)).toBe(true);
});
