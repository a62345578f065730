import { expect, test } from '../helpers/console';

test('who is not signed in is asked to sign in', async ({ page, server }) => {
  await page.goto(`${server.url}/jobs`);
  await expect(page).toHaveURL(/\/sign-in/);
});

test('the list shows a job and becomes live', async ({ console, page }) => {
  const job = await console.submit({ name: 'Checksums of two files' });
  await console.goto('/jobs');
  await expect(page.locator(`[data-job-id="${job.job_id}"]`)).toContainText('Checksums of two files');
});
