import { execFileSync } from 'node:child_process';
import { defineConfig } from '@playwright/test';

/** The Chromium to test with: `make test` says which (end2end/setup); by hand, the first on the path. */
function chromium(): string | undefined {
  if (process.env.CHROMIUM_PATH) return process.env.CHROMIUM_PATH;
  try {
    return execFileSync('sh', ['-c', 'command -v chromium || command -v google-chrome'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined; // Playwright's own
  }
}

export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results',
  // A test that passes only the second time is a failed one.
  retries: 0,
  // Each worker has a server and a browser; the servers run real jobs.
  workers: 2,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  forbidOnly: !!process.env.CI,
  reporter: 'line',
  use: {
    browserName: 'chromium',
    locale: 'en-GB',
    timezoneId: 'UTC',
    viewport: { width: 1440, height: 900 },
    screenshot: 'only-on-failure',
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: chromium(),
      args: ['--no-sandbox', '--disable-background-networking'],
    },
  },
});
