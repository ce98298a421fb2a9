#!/usr/bin/env bash
# ai 6.0.326 (Vercel's AI SDK) with @ai-sdk/openai 3.0.141 and experimental_telemetry: generateText and generateObject.
#
# The span of the same request to the same model has ai.usage.inputTokens and its parts (cached, reasoning) in the one
# case, and ai.usage.promptTokens, the name of earlier versions, without any part in the other: what reads the newer
# names finds no tokens of objects, and their cached tokens, which cost less, are told nowhere.
#
# Seen: what the requests' spans have below ai.usage, where the API reports 31 tokens, 16 of them cached, and 17, 9 of
# them of reasoning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"type": "module", "private": true}' >package.json
npm install --silent --no-audit --no-fund ai@6.0.326 @ai-sdk/openai@3.0.141 zod@4.6.7 \
    @opentelemetry/sdk-trace-node@2.0.1 @opentelemetry/sdk-trace-base@2.0.1 @opentelemetry/api@1.9.0 >install 2>&1
cat >ask.js <<'JS'
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createOpenAI } from "@ai-sdk/openai";
import { InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { generateObject, generateText } from "ai";
import { z } from "zod";

const exporter = new InMemorySpanExporter();
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
const usage = {
  prompt_tokens: 31,
  completion_tokens: 17,
  total_tokens: 48,
  prompt_tokens_details: { cached_tokens: 16 },
  completion_tokens_details: { reasoning_tokens: 9 },
};
const message = { role: "assistant", content: '{"city": "Paris"}' };
const answer = { id: "chatcmpl-1", created: 1, model: "gpt-4o-mini", object: "chat.completion", usage };
const server = createServer((request, response) => {
  request.resume();
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ ...answer, choices: [{ index: 0, finish_reason: "stop", message }] }));
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const openai = createOpenAI({ apiKey: "any", baseURL: `http://127.0.0.1:${server.address().port}/v1` });
const asked = { model: openai.chat("gpt-4o-mini"), prompt: "The capital of France?", experimental_telemetry: { isEnabled: true } };
await generateText(asked);
await generateObject({ ...asked, schema: z.object({ city: z.string() }) });

const lines = exporter
  .getFinishedSpans()
  .filter((span) => span.name.endsWith("doGenerate"))
  .map((span) => {
    const told = Object.entries(span.attributes).filter(([name]) => name.startsWith("ai.usage."));
    const shown = told.map(([name, value]) => `${name.replace("ai.usage.", "")}=${value}`).sort();
    return `${span.name}: ${shown.join(" ")}`;
  });
writeFileSync("seen", `${lines.join("\n")}\n`);
process.exit(0);
JS
node ask.js >log 2>&1
cat seen
diff seen - <<'SEEN'
ai.generateText.doGenerate: cachedInputTokens=16 inputTokenDetails.cacheReadTokens=16 inputTokenDetails.noCacheTokens=15 inputTokens=31 outputTokenDetails.reasoningTokens=9 outputTokenDetails.textTokens=8 outputTokens=17 reasoningTokens=9 totalTokens=48
ai.generateObject.doGenerate: completionTokens=17 promptTokens=31
SEEN
