// Two vectors in the SDK's own encoding (base64), and the first once more as numbers. Arguments: model.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = process.argv[2];
const packed = await client.embeddings.create({ model, input: ["Hello", "Goodbye"] });
const plain = await client.embeddings.create({ model, input: "Hello", encoding_format: "float" });
const [first] = packed.data;
const difference = Math.max(...plain.data[0].embedding.map((value, index) => Math.abs(value - first.embedding[index])));
console.log(JSON.stringify({ lengths: packed.data.map((item) => item.embedding.length), difference }));
