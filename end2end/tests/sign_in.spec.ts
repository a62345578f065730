/** Who may look, and how they come in and out. */
import type { Browser, BrowserContext } from '@playwright/test';

import { Console, expect, test } from '../helpers/console';

test.use({ instance: 'sign_in' });

/** A browser that nobody has signed in. */
async function stranger(browser: Browser, url: string, script = true): Promise<BrowserContext> {
  return browser.newContext({ baseURL: url, storageState: { cookies: [], origins: [] }, javaScriptEnabled: script });
}

test('the one-time link shows a page whose button signs in, once', async ({ browser, server }) => {
  const link = server.links()[0] ?? '';
  expect(link, server.log.join('\n')).toMatch(/^http/);
  const context = await stranger(browser, server.url);
  const page = await context.newPage();
  // A preview of the link does not use it up.
  await page.request.get(link);
  await page.goto(link);
  await page.getByRole('button', { name: /^sign in/i }).first().click();
  await expect(page).toHaveURL(/\/jobs$/);
  await expect(page.getByRole('heading', { name: 'Jobs', level: 1 })).toBeVisible();
  await context.close();

  const second = await stranger(browser, server.url);
  const again = await second.newPage();
  await again.goto(link);
  const button = again.getByRole('button', { name: /^sign in/i }).first();
  if (await button.isVisible()) await button.click();
  await again.goto('/jobs');
  await expect(again.getByRole('heading', { name: /sign in/i })).toBeVisible();
  await second.close();
});

for (const script of [true, false]) {
  test(`a token signs in and leads to the place that was asked for, ${script ? 'with' : 'without'} script`, async ({ api, browser, server }) => {
    const job = await api.completed('Asked for');
    const context = await stranger(browser, server.url, script);
    const page = await context.newPage();
    await page.goto(`/jobs/${job.job_id}`);
    await expect(page.getByRole('heading', { name: /sign in/i })).toBeVisible();
    expect(await page.content()).not.toContain('Asked for');
    await page.getByLabel(/token/i).fill(server.token);
    await page.getByRole('button', { name: /^sign in/i }).click();
    await expect(page).toHaveURL(new RegExp(`/jobs/${job.job_id}$`));
    await expect(page.getByRole('heading', { name: 'Asked for', level: 1 })).toBeVisible();
    await context.close();
  });
}

test('a wrong token is refused with a word, and is not repeated on the page', async ({ browser, server }) => {
  const context = await stranger(browser, server.url);
  const page = await context.newPage();
  await page.goto('/sign-in');
  await page.getByLabel(/token/i).fill('not-the-token-at-all');
  await page.getByRole('button', { name: /^sign in/i }).click();
  await expect(page.getByRole('alert').first()).toBeVisible();
  expect(await page.content()).not.toContain('not-the-token-at-all');
  await context.close();
});

test('the session cookie cannot be read by scripts and is not sent from other sites', async ({ context, page }) => {
  await page.goto('/jobs');
  const cookies = await context.cookies();
  const session = cookies.filter((cookie) => cookie.httpOnly);
  expect(session).toHaveLength(1);
  expect(session[0]?.sameSite).toMatch(/Lax|Strict/);
  expect(await page.evaluate(() => document.cookie)).not.toContain(session[0]?.value ?? 'no session');
});

test('a session that ended leads to sign-in and back to the same place', async ({ api, browser, server }) => {
  const job = await api.held('Signed out in between');
  const context = await stranger(browser, server.url);
  const page = await context.newPage();
  const console = new Console(page);
  await page.goto(`/jobs/${job.job_id}`);
  await page.getByLabel(/token/i).fill(server.token);
  await page.getByRole('button', { name: /^sign in/i }).click();
  await expect(page.getByRole('heading', { name: 'Signed out in between', level: 1 })).toBeVisible();
  await console.live();
  await context.clearCookies();
  // The next poll hears the 401.
  await expect(page.getByRole('heading', { name: /sign in/i })).toBeVisible({ timeout: 20_000 });
  await page.getByLabel(/token/i).fill(server.token);
  await page.getByRole('button', { name: /^sign in/i }).click();
  await expect(page).toHaveURL(new RegExp(`/jobs/${job.job_id}$`));
  await expect(page.getByRole('heading', { name: 'Signed out in between', level: 1 })).toBeVisible();
  await api.cancel(job.job_id);
  await context.close();
});

test('signing out ends the session on the server too', async ({ browser, server }) => {
  const context = await stranger(browser, server.url);
  const page = await context.newPage();
  await page.goto('/sign-in');
  await page.getByLabel(/token/i).fill(server.token);
  await page.getByRole('button', { name: /^sign in/i }).click();
  await expect(page).toHaveURL(/\/jobs$/);
  const cookies = await context.cookies();
  await page.locator('summary', { hasText: 'Account' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: /sign in/i })).toBeVisible();
  await context.addCookies(cookies);
  await page.goto('/jobs');
  await expect(page.getByRole('heading', { name: /sign in/i })).toBeVisible();
  await context.close();
});

test('a form on another site changes nothing', async ({ api, page, server }) => {
  const job = await api.held('Cross site');
  const answer = await page.request.post(`${server.url}/jobs/${job.job_id}/cancel`, {
    form: { reason: 'forged' },
    headers: { origin: 'https://elsewhere.example' },
  });
  expect(answer.status()).toBe(403);
  expect((await api.job(job.job_id)).phase).toBe('in_progress');
  await api.cancel(job.job_id);
});
