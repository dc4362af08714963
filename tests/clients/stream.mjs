// The same question twice in streams: chunk by chunk, and with the SDK's helper. Arguments: model.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const question = {
  model: process.argv[2],
  messages: [{ role: "user", content: "What is the capital of France?" }],
  temperature: 0,
  max_tokens: 24,
};

let told = "";
let usage = null;
let chunks = 0;
const stream = await client.chat.completions.create({
  ...question,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  chunks += 1;
  told += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}

const helper = await client.chat.completions.stream(question).finalContent();
console.log(JSON.stringify({ told, helper, usage, chunks }));
