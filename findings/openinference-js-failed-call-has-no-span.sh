#!/usr/bin/env bash
# @arizeai/openinference-instrumentation-openai 4.2.7 (JavaScript) with openai 6.49.0: a request that the API refuses.
#
# The call raises BadRequestError, as without the instrumentation, and no span is exported: it is begun and never ended.
# What only reads spans sees an application without errors. The instrumentation for Python writes one with the error.
#
# Seen: the spans of one call that is answered and one that is refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"type": "module", "private": true}' >package.json
npm install --silent --no-audit --no-fund @arizeai/openinference-instrumentation-openai@4.2.7 openai@6.49.0 \
    @opentelemetry/sdk-trace-node@2.0.1 @opentelemetry/sdk-trace-base@2.0.1 @opentelemetry/api@1.9.0 >install 2>&1
cat >ask.js <<'JS'
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { OpenAIInstrumentation } from "@arizeai/openinference-instrumentation-openai";
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import OpenAI from "openai";

let begun = 0;
const exporter = new InMemorySpanExporter();
const counting = {
  onStart: () => (begun += 1),
  onEnd: () => {},
  shutdown: async () => {},
  forceFlush: async () => {},
};
const provider = new NodeTracerProvider({ spanProcessors: [counting, new SimpleSpanProcessor(exporter)] });
provider.register();
const instrumentation = new OpenAIInstrumentation({ tracerProvider: provider });
instrumentation.manuallyInstrument(OpenAI);

const server = createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  response.setHeader("Content-Type", "application/json");
  if (JSON.parse(body).temperature > 2) {
    response.statusCode = 400;
    response.end(JSON.stringify({ error: { message: "temperature must be at most 2", type: "invalid_request_error" } }));
    return;
  }
  const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: "Paris." } }];
  response.end(JSON.stringify({ id: "chatcmpl-1", created: 1, model: "gpt-4o-mini", object: "chat.completion", choices }));
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const client = new OpenAI({ apiKey: "any", baseURL: `http://127.0.0.1:${server.address().port}/v1`, maxRetries: 0 });
const asked = { model: "gpt-4o-mini", messages: [{ role: "user", content: "The capital of France?" }] };
const lines = [];
for (const temperature of [1, 9]) {
  begun = 0;
  exporter.reset();
  let outcome = "answered";
  await client.chat.completions.create({ ...asked, temperature }).catch((error) => (outcome = error.constructor.name));
  await provider.forceFlush();
  lines.push(`${outcome}: ${begun} begun, ${exporter.getFinishedSpans().length} exported`);
}
writeFileSync("seen", `${lines.join("\n")}\n`);
process.exit(0);
JS
node ask.js >log 2>&1
cat seen
diff seen - <<'SEEN'
answered: 1 begun, 1 exported
BadRequestError: 1 begun, 0 exported
SEEN
