// A call of a named tool. Arguments: model.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const completion = await client.chat.completions.create({
  model: process.argv[2],
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  tools: [
    {
      type: "function",
      function: {
        name: "get_weather",
        parameters: {
          type: "object",
          properties: { city: { type: "string", maxLength: 20 } },
          required: ["city"],
          additionalProperties: false,
        },
      },
    },
  ],
  tool_choice: { type: "function", function: { name: "get_weather" } },
  temperature: 0,
  max_tokens: 64,
});
const [choice] = completion.choices;
const [call] = choice.message.tool_calls;
console.log(
  JSON.stringify({
    finish_reason: choice.finish_reason,
    name: call.function.name,
    arguments: JSON.parse(call.function.arguments),
  }),
);
