// A certified OpenID provider on loopback, with one client.
//
//     node oidc-provider.mjs '{"issuer": ..., "port": ..., "client": {...}, "overrides": {...}}'
//
// Whoever signs in as `ada` is ada@example.com. Says "ready" when it answers, and ends with its standard input.
import Provider from "oidc-provider";

const { issuer, port, client, overrides } = JSON.parse(process.argv[2]);

const provider = new Provider(issuer, {
  clients: [client],
  claims: { openid: ["sub", "hd"], email: ["email", "email_verified"], profile: ["name", "picture"] },
  pkce: { required: () => true },
  async findAccount(_, id) {
    return {
      accountId: id,
      claims: () => ({
        sub: id,
        name: id[0].toUpperCase() + id.slice(1),
        email: `${id}@example.com`,
        email_verified: true,
        picture: `https://example.com/${id}.png`,
        hd: "example.com",
      }),
    };
  },
  ...overrides,
});

const server = provider.listen(port, "127.0.0.1", () => console.log("ready"));
process.stdin.resume();
process.stdin.on("end", () => {
  server.closeAllConnections();
  process.exit(0);
});
