// Four failures: no such model, a bad value, a wrong key, and one in the middle of a stream. Arguments: scripted model.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const stranger = new OpenAI({ maxRetries: 0, apiKey: "sk-wrong" });
const model = process.argv[2];
const messages = [{ role: "user", content: "Hello" }];

async function failureOf(call) {
  try {
    await call();
  } catch (error) {
    return {
      name: error.constructor.name,
      status: error.status,
      code: error.code ?? null,
      param: error.param ?? null,
    };
  }
  return null;
}

async function readToTheEnd() {
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "[error]" }],
    stream: true,
  });
  for await (const chunk of stream) void chunk;
}

console.log(
  JSON.stringify([
    await failureOf(() => client.chat.completions.create({ model: "none", messages })),
    await failureOf(() => client.chat.completions.create({ model, messages, temperature: 3 })),
    await failureOf(() => stranger.chat.completions.create({ model, messages })),
    await failureOf(readToTheEnd),
  ]),
);
