/** Product matching: from the upload to the gallery, and to the receipt. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '../helpers/console';

test.use({ instance: 'matching' });

/** A product shot, and a video in which it stands turned and smaller before a grey wall. */
function shotAndFilm(): { shot: string; film: string } {
  const folder = mkdtempSync(join(tmpdir(), 'belay-matching-'));
  const [shot, film] = [join(folder, 'crate.png'), join(folder, 'tour.mp4')];
  const ffmpeg = (...args: string[]): void => {
    execFileSync('ffmpeg', ['-nostdin', '-hide_banner', '-loglevel', 'error', '-y', ...args]);
  };
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=480x360', '-frames:v', '1', shot);
  const wall = 'color=gray:size=1280x720:rate=12:duration=3';
  const graph = ['-filter_complex', '[1]format=rgba,rotate=0.3:c=none:ow=rotw(0.3):oh=roth(0.3)[turned];[0][turned]overlay=300:120:shortest=1', '-pix_fmt', 'yuv420p'];
  ffmpeg('-f', 'lavfi', '-i', wall, '-loop', '1', '-t', '3', '-i', shot, ...graph, film);
  return { shot, film };
}

test('products and videos are uploaded, found, shown, and removed as the plan says', async ({ api, console, page }) => {
  test.setTimeout(120_000);
  const { shot, film } = shotAndFilm();
  await console.goto('/jobs/new');
  await page.getByRole('link', { name: 'Product matching' }).click();
  await expect(page.getByRole('heading', { name: 'Product images' })).toBeVisible();
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Crate on tour');
  await page.locator('#up-products').setInputFiles(shot);
  await page.locator('#up-videos').setInputFiles(film);
  await expect(page.getByText('crate.png')).toBeVisible();
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  const id = /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(page.url())?.[0] ?? '';
  await api.when(id, (job) => job.phase === 'completed', 90_000);

  await page.goto(`/jobs/${id}`);
  await expect(page.getByRole('heading', { name: 'Matches' })).toBeVisible();
  const card = page.getByRole('img', { name: /crate outlined in tour\.mp4/ });
  await expect(card.first()).toBeVisible();
  await expect(page.getByText('1 of 1 seen')).toBeVisible();
  await expect(page.getByRole('img', { name: 'Mask of crate' })).toBeVisible();
  await expect(page.getByRole('img', { name: /Keyframe at 00:00\.0: crate/ })).toBeVisible();

  const plan = await api.plan(id);
  await page.getByRole('button', { name: 'Delete Job' }).click();
  const dialog = page.getByRole('dialog');
  for (const words of ['Product images and masks', 'Video frames and keyframes', 'Match results and evidence']) {
    await expect(dialog).toContainText(words);
  }
  await dialog.getByRole('button', { name: 'Delete Permanently' }).click();
  await expect(page).toHaveURL(/\/jobs$/);
  const receipt = await api.receipt(id);
  const removed = receipt.items.map((line) => [line.category, line.removed, line.removed_bytes]);
  expect(removed).toEqual(plan.items.map((line) => [line.category, line.items, line.bytes]));
});
