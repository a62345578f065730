/** Kind `hosts`: from the form to the proof on each host, also of one that does not answer for a while. */
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, movableClock, test } from '../helpers/console';
import { Fleet } from '../helpers/sshd';

test.use({ instance: 'hosts' });

const NAMES = ['web1', 'web2', 'web3', 'db1', 'db2'];
let fleet: Fleet;

test.beforeAll(async ({ server }) => {
  fleet = await Fleet.start(NAMES);
  await appendFile(join(server.folder, 'belay.toml'), fleet.config());
  await server.down();
  await server.up();
});

test.afterAll(() => fleet.stop());

test('five hosts are stopped with proof, also the one that is frozen and thawed', async ({ api, console, page }) => {
  test.setTimeout(150_000);
  const moveClock = await movableClock(page);
  await console.goto('/jobs/new?kind=hosts');
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill('Maintenance');
  await page.getByRole('checkbox', { name: /^fleet/ }).check();
  await page.getByRole('textbox', { name: /^Own command/ }).fill('sleep 600');
  await page.getByRole('button', { name: 'Start Job' }).click();
  await expect(page).toHaveURL(/\/jobs\/[0-9a-f-]{36}/);
  const id = /[0-9a-f]{8}-[0-9a-f-]{27}/.exec(page.url())?.[0] ?? '';

  await console.detail(id);
  await expect(page.getByRole('list', { name: 'Hosts' }).getByRole('listitem')).toHaveCount(5);
  // The command runs on all: a host that is frozen while it is being reached has nothing to stop.
  await expect(page.getByText(/^started on \w+ as process/)).toHaveCount(5, { timeout: 30_000 });
  fleet.freeze('db2');
  await console.action('Cancel Job').click();
  await console.cancelDialog().getByRole('button', { name: 'Confirm Cancellation' }).click();
  await expect(console.dialog(/4 of 5 stopped…/)).toBeVisible({ timeout: 30_000 });
  expect((await api.job(id)).phase).toBe('cancelling');

  await moveClock(31_000);
  const late = console.dialog('1 of 5 has not answered');
  await expect(late.getByRole('list', { name: 'Runs that are being stopped' })).toContainText('db2');
  await late.getByRole('button', { name: 'Force' }).click();
  await expect(console.badge()).toHaveText('Cancelled', { timeout: 30_000 });
  const proof = page.locator('.panel.proof');
  await expect(proof).toContainText('1 run not confirmed');

  fleet.thaw('db2');
  await proof.getByRole('button', { name: 'Resend' }).click();
  await expect(proof.getByRole('button', { name: 'Resend' })).toHaveCount(0, { timeout: 40_000 });
  await expect(proof.locator('article.run')).toHaveCount(5);
  const job = await api.job(id);
  expect(job.cancellation?.stop).toMatchObject({ stopped: 5, unconfirmed: 0 });
});
