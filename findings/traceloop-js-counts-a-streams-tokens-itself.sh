#!/usr/bin/env bash
# @traceloop/node-server-sdk 0.27.0 with openai 6.49.0: a stream that was asked for its usage (include_usage).
#
# The response's last chunk has the usage, as it was asked for. The span has other numbers: those that the SDK counts with
# a tokeniser of its own, without the cache and what the model adds. Without a stream the response's numbers are taken.
#
# Seen: the tokens of two spans, whose responses both report 31 and 17.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"type": "module", "private": true}' >package.json
npm install --silent --no-audit --no-fund @traceloop/node-server-sdk@0.27.0 openai@6.49.0 @opentelemetry/sdk-trace-base@2.0.1 >install 2>&1
cat >ask.js <<'JS'
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { InMemorySpanExporter } from "@opentelemetry/sdk-trace-base";
import * as traceloop from "@traceloop/node-server-sdk";
import OpenAI from "openai";

const usage = { prompt_tokens: 31, completion_tokens: 17, total_tokens: 48 };
const base = { id: "chatcmpl-1", created: 1, model: "gpt-4o-mini" };
const text = "Paris is the capital of France.";

const server = createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  if (!JSON.parse(body).stream) {
    const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: text } }];
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ ...base, object: "chat.completion", choices, usage }));
    return;
  }
  const choices = [{ index: 0, finish_reason: "stop", delta: { role: "assistant", content: text } }];
  response.setHeader("Content-Type", "text/event-stream");
  for (const chunk of [{ choices }, { choices: [], usage }]) {
    response.write(`data: ${JSON.stringify({ ...base, object: "chat.completion.chunk", ...chunk })}\n\n`);
  }
  response.end("data: [DONE]\n\n");
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const exporter = new InMemorySpanExporter();
traceloop.initialize({ exporter, disableBatch: true, traceloopSyncEnabled: false, instrumentModules: { openAI: OpenAI } });
const client = new OpenAI({ apiKey: "any", baseURL: `http://127.0.0.1:${server.address().port}/v1` });
const asked = { model: "gpt-4o-mini", messages: [{ role: "user", content: "What is the capital of France?" }] };

await client.chat.completions.create(asked);
const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
let reported;
for await (const chunk of stream) reported = chunk.usage ?? reported;
await traceloop.forceFlush();

const tokens = exporter.getFinishedSpans().map((span) => [
  span.attributes["gen_ai.usage.input_tokens"],
  span.attributes["gen_ai.usage.output_tokens"],
]);
const lines = [
  `whole:  ${tokens[0].join(" and ")}`,
  `stream: ${tokens[1].join(" and ")}, where its last chunk says ${reported.prompt_tokens} and ${reported.completion_tokens}`,
];
writeFileSync("seen", `${lines.join("\n")}\n`);
process.exit(0);
JS
TRACELOOP_TELEMETRY=false node ask.js >log 2>&1
cat seen
diff seen - <<'SEEN'
whole:  31 and 17
stream: 7 and 7, where its last chunk says 31 and 17
SEEN
