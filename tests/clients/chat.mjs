// One question. Arguments: model. Base URL and key come from the environment, as the SDK reads them itself.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const completion = await client.chat.completions.create({
  model: process.argv[2],
  messages: [{ role: "user", content: "What is the capital of France?" }],
  temperature: 0,
  max_tokens: 24,
});
console.log(JSON.stringify({ ...completion, _request_id: completion._request_id }));
