// All models, and one by name. Arguments: name.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
const retrieved = await client.models.retrieve(process.argv[2]);
console.log(JSON.stringify({ ids, retrieved: retrieved.id }));
