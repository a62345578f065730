/** Real OpenSSH servers on loopback, one a host, which a test can freeze and thaw. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Sshd {
  name: string;
  port: number;
  child: ChildProcess;
}

export class Fleet {
  private readonly hosts: Sshd[] = [];

  private constructor(private readonly folder: string) {}

  static async start(names: string[]): Promise<Fleet> {
    // Where a privileged server wants to change its root to.
    mkdirSync('/run/sshd', { recursive: true });
    const fleet = new Fleet(mkdtempSync(join(tmpdir(), 'belay-fleet-')));
    fleet.key('id');
    fleet.key('host');
    copyFileSync(fleet.path('id.pub'), fleet.path('authorized_keys'));
    for (const name of names) await fleet.add(name);
    const key = readFileSync(fleet.path('host.pub'), 'utf8').trim();
    writeFileSync(fleet.path('known_hosts'), fleet.hosts.map(({ port }) => `[127.0.0.1]:${port} ${key}\n`).join(''));
    return fleet;
  }

  /** The part of Belay's configuration that names these hosts, all in the group `fleet`. */
  config(): string {
    const user = execFileSync('id', ['-un'], { encoding: 'utf8' }).trim();
    const host = ({ name, port }: Sshd) =>
      `[[hosts]]\nname = "${name}"\naddress = "127.0.0.1"\nport = ${port}\nuser = "${user}"\nkey = "${this.path('id')}"\n`;
    const names = JSON.stringify(this.hosts.map(({ name }) => name));
    const ssh = `[ssh]\nknown_hosts = "${this.path('known_hosts')}"\nallow_free_commands = true\n`;
    return `${ssh}[host_groups]\nfleet = ${names}\n${this.hosts.map(host).join('')}`;
  }

  /** Nothing of this host answers any more; what it runs goes on. */
  freeze(name: string): void {
    this.signal(name, 'SIGSTOP');
  }

  thaw(name: string): void {
    this.signal(name, 'SIGCONT');
  }

  stop(): void {
    for (const { name } of this.hosts) {
      this.thaw(name);
      this.signal(name, 'SIGKILL');
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  private path(name: string): string {
    return join(this.folder, name);
  }

  private key(name: string): void {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', this.path(name)]);
  }

  private async add(name: string): Promise<void> {
    const port = await freePort();
    const lines = ['UsePAM no', 'StrictModes no', 'PasswordAuthentication no', 'PidFile none', `HostKey ${this.path('host')}`];
    // A home of its own: the user's start-up files may take their time.
    lines.push(`SetEnv HOME=${this.folder}`, 'MaxStartups 100');
    lines.push(`Port ${port}`, 'ListenAddress 127.0.0.1', `AuthorizedKeysFile ${this.path('authorized_keys')}`);
    writeFileSync(this.path(`${name}.conf`), `${lines.join('\n')}\n`);
    const child = spawn('/usr/sbin/sshd', ['-D', '-f', this.path(`${name}.conf`)], { stdio: 'ignore' });
    this.hosts.push({ name, port, child });
    for (let tries = 0; !(await answers(port)); tries += 1) {
      if (tries > 100) throw new Error(`sshd of ${name} does not answer on port ${port}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  /** To the server and what it forked for its connections, not to what these run. */
  private signal(name: string, signal: NodeJS.Signals): void {
    const root = this.hosts.find((host) => host.name === name)?.child.pid;
    const all = execFileSync('ps', ['-eo', 'pid=,ppid=,comm='], { encoding: 'utf8' }).trim().split('\n');
    const rows = all.map((line) => line.trim().split(/\s+/)).map(([pid, parent, comm]) => ({ pid: Number(pid), parent: Number(parent), comm }));
    const meant = new Set([root]);
    for (let before = 0; before !== meant.size; ) {
      before = meant.size;
      for (const row of rows) if (meant.has(row.parent) && row.comm?.startsWith('sshd')) meant.add(row.pid);
    }
    for (const pid of meant) {
      try {
        if (pid) process.kill(pid, signal);
      } catch {
        // It went meanwhile.
      }
    }
  }
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => done(port));
    });
  });
}

function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('data', () => (socket.destroy(), done(true)));
    socket.once('error', () => done(false));
    socket.once('close', () => done(false));
  });
}
