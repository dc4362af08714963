// A conversation of responses: made, streamed, continued, kept, listed, deleted. Arguments: model.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = process.argv[2];
const conversation = await client.conversations.create({
  metadata: { topic: "capitals" },
  items: [{ type: "message", role: "user", content: "I like geography." }],
});
const first = await client.responses.create({
  model,
  conversation: conversation.id,
  input: "What is the capital of France?",
  temperature: 0,
  max_output_tokens: 32,
});
const stream = client.responses.stream({
  model,
  conversation: { id: conversation.id },
  input: "And of England?",
  temperature: 0,
  max_output_tokens: 32,
});
let told = "";
stream.on("response.output_text.delta", (event) => {
  told += event.delta;
});
const second = await stream.finalResponse();
const items = [];
for await (const item of client.conversations.items.list(conversation.id, { order: "asc", limit: 2 })) {
  items.push(item);
}
const inputs = [];
for await (const item of client.responses.inputItems.list(second.id)) {
  inputs.push(item.content[0].text);
}
const retrieved = await client.responses.retrieve(first.id);
const continued = await client.responses.create({ model, previous_response_id: second.id, input: "Thank you." });
await client.responses.delete(first.id);
const gone = await client.responses.retrieve(first.id).catch((error) => error.status);
const deleted = await client.conversations.delete(conversation.id);
console.log(
  JSON.stringify({
    first: first.output_text,
    second: second.output[0].content[0].text,
    told,
    texts: items.map((item) => item.content[0].text),
    inputs,
    retrieved: retrieved.output_text,
    continued: continued.status,
    gone,
    deleted: deleted.deleted,
  }),
);
