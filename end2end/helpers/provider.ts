/**
 * A batch API of OpenAI's shape on loopback, whose batches move only when the test says so: what no real provider and no ready
 * double does. It keeps to the documented wire shapes.
 */
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

interface Batch {
  id: string;
  object: 'batch';
  endpoint: string;
  errors: null;
  input_file_id: string;
  completion_window: string;
  status: string;
  output_file_id: string | null;
  error_file_id: string | null;
  created_at: number;
  in_progress_at: number | null;
  expires_at: number;
  cancelling_at: number | null;
  cancelled_at: number | null;
  completed_at: number | null;
  request_counts: { total: number; completed: number; failed: number };
  metadata: Record<string, string> | null;
}

const seconds = (): number => Math.floor(Date.now() / 1000);

export class Provider {
  private readonly files = new Map<string, string>();
  /** Newest last. */
  readonly batches: Batch[] = [];
  /** Method and path of each request that changes something. */
  readonly changes: string[] = [];
  private constructor(private readonly http: HttpServer) {}

  static async start(): Promise<Provider> {
    let provider: Provider;
    const http = createServer((request, response) => void provider.answer(request, response));
    provider = new Provider(http);
    await new Promise<void>((done) => http.listen(0, '127.0.0.1', done));
    return provider;
  }

  stop(): void {
    this.http.closeAllConnections();
    this.http.close();
  }

  /** The part of Belay's configuration that names it. */
  config(): string {
    const { port } = this.http.address() as AddressInfo;
    return `\n[providers.openai]\nbase_url = "http://127.0.0.1:${port}/v1"\napi_key_env = "BELAY_E2E_KEY"\n`;
  }

  /** A batch that was made elsewhere. */
  foreign(): Batch {
    this.files.set('file-foreign', `${JSON.stringify(line('elsewhere-1'))}\n`);
    return this.make('file-foreign', '/v1/chat/completions', { project: 'elsewhere' });
  }

  /** So many of its requests are done. */
  progress(batch: Batch, completed: number): void {
    batch.request_counts.completed = completed;
  }

  /** The provider ends it, with the results of what was done. */
  end(batch: Batch, status: 'completed' | 'cancelled'): void {
    const ids = this.ids(batch).slice(0, status === 'completed' ? undefined : batch.request_counts.completed);
    const output = `file-out-${batch.id}`;
    this.files.set(output, ids.map((id) => `${JSON.stringify(result(id))}\n`).join(''));
    batch.output_file_id = ids.length > 0 ? output : null;
    batch.request_counts.completed = ids.length;
    batch.status = status;
    if (status === 'completed') batch.completed_at = seconds();
    else batch.cancelled_at = seconds();
  }

  private ids(batch: Batch): string[] {
    const lines = (this.files.get(batch.input_file_id) ?? '').split('\n').filter((text) => text.trim() !== '');
    return lines.map((text) => (JSON.parse(text) as { custom_id: string }).custom_id);
  }

  private make(input: string, endpoint: string, metadata: Record<string, string> | null): Batch {
    const now = seconds();
    const batch: Batch = {
      id: `batch_${this.batches.length + 1}`,
      object: 'batch',
      endpoint,
      errors: null,
      input_file_id: input,
      completion_window: '24h',
      status: 'in_progress',
      output_file_id: null,
      error_file_id: null,
      created_at: now,
      in_progress_at: now,
      expires_at: now + 86_400,
      cancelling_at: null,
      cancelled_at: null,
      completed_at: null,
      request_counts: { total: 0, completed: 0, failed: 0 },
      metadata,
    };
    batch.request_counts.total = this.ids(batch).length;
    this.batches.push(batch);
    return batch;
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString('utf8');
    const url = new URL(request.url ?? '/', 'http://provider');
    const [, , noun, id, verb] = url.pathname.split('/');
    const method = request.method ?? 'GET';
    if (method !== 'GET') this.changes.push(`${method} ${url.pathname}`);
    const json = (value: unknown, status = 200) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(value));
    };
    const missing = () => json({ error: { message: `No such ${noun}: ${id}`, type: 'invalid_request_error', code: null } }, 404);
    const batch = this.batches.find((batch) => batch.id === id);
    if (noun === 'files' && method === 'POST') {
      const file = `file-${this.files.size + 1}`;
      const text = body.slice(body.indexOf('{"custom_id"'), body.lastIndexOf('}') + 1);
      this.files.set(file, `${text}\n`);
      json({ id: file, object: 'file', bytes: text.length, created_at: seconds(), filename: 'requests.jsonl', purpose: 'batch' });
    } else if (noun === 'files' && verb === 'content') {
      const text = this.files.get(id ?? '');
      if (text === undefined) return missing();
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      response.end(text);
    } else if (noun === 'files' && method === 'DELETE') {
      if (!this.files.delete(id ?? '')) return missing();
      json({ id, object: 'file', deleted: true });
    } else if (noun === 'batches' && method === 'POST' && verb === 'cancel') {
      if (!batch) return missing();
      batch.status = 'cancelling';
      batch.cancelling_at = seconds();
      json(batch);
    } else if (noun === 'batches' && method === 'POST') {
      const asked = JSON.parse(body) as { input_file_id: string; endpoint: string; metadata?: Record<string, string> };
      json(this.make(asked.input_file_id, asked.endpoint, asked.metadata ?? null));
    } else if (noun === 'batches' && id) {
      if (!batch) return missing();
      json(batch);
    } else if (noun === 'batches') {
      json({ object: 'list', data: [...this.batches].reverse(), has_more: false, first_id: null, last_id: null });
    } else {
      missing();
    }
  }
}

/** A line of a file of requests. */
export function line(id: string): object {
  const body = { model: 'gpt-4o-mini', max_tokens: 50, messages: [{ role: 'user', content: `Describe ${id} in one sentence.` }] };
  return { custom_id: id, method: 'POST', url: '/v1/chat/completions', body };
}

function result(id: string): object {
  const body = {
    id: `chatcmpl-${id}`,
    object: 'chat.completion',
    model: 'gpt-4o-mini',
    choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: `All about ${id}.` } }],
    usage: { prompt_tokens: 12, completion_tokens: 7, total_tokens: 19 },
  };
  return { id: `batch_req_${id}`, custom_id: id, response: { status_code: 200, request_id: `req-${id}`, body }, error: null };
}
