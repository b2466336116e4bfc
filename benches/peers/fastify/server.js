// A do-it-yourself webhook receiver as people write it: fastify, pg, amqplib. One process, as `node server.js` is.
//
//   node server.js safe      key stored (a duplicate is found), then published and confirmed, then answered
//   node server.js forget    verified, handed to the client library, answered: no key, no confirm
//
// Environment: POSTGRES_URL, AMQP_URL, SECRET. Prints its port. The safe form still loses an event when it dies between key and confirm.
import { createHmac, timingSafeEqual } from "node:crypto";
import amqp from "amqplib";
import Fastify from "fastify";
import pg from "pg";

const safe = process.argv[2] !== "forget";
const { POSTGRES_URL, AMQP_URL, SECRET } = process.env;
const QUEUE = "peer.events";

const pool = new pg.Pool({ connectionString: POSTGRES_URL, max: 10 });
await pool.query("CREATE TABLE IF NOT EXISTS peer_key (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())");
const connection = await amqp.connect(AMQP_URL);
const channel = safe ? await connection.createConfirmChannel() : await connection.createChannel();
await channel.assertQueue(QUEUE, { durable: true, arguments: { "x-queue-type": "quorum" } });

const verified = (header, body) => {
  const parts = Object.fromEntries((header ?? "").split(",").map((part) => part.split("=")));
  if (!/^[0-9a-f]{64}$/.test(parts.v1 ?? "") || Math.abs(Date.now() / 1000 - Number(parts.t)) > 300) return false;
  const expected = createHmac("sha256", SECRET).update(`${parts.t}.`).update(body).digest();
  return timingSafeEqual(expected, Buffer.from(parts.v1, "hex"));
};

const published = (body, id) =>
  new Promise((resolve, reject) =>
    channel.sendToQueue(QUEUE, body, { persistent: true, messageId: id }, (error) => (error ? reject(error) : resolve())),
  );

const app = Fastify({ bodyLimit: 26214400 });
app.addContentTypeParser("application/json", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
app.post("/ingest/stripe", async (request, reply) => {
  if (!verified(request.headers["stripe-signature"], request.body)) return reply.code(401).send();
  const { id } = JSON.parse(request.body);
  if (!safe) {
    channel.sendToQueue(QUEUE, request.body, { persistent: true, messageId: id });
    return { id, status: "accepted" };
  }
  const inserted = await pool.query("INSERT INTO peer_key (id) VALUES ($1) ON CONFLICT DO NOTHING", [id]);
  if (inserted.rowCount === 0) return { id, status: "duplicate" };
  await published(request.body, id);
  return { id, status: "accepted" };
});
await app.listen({ host: "127.0.0.1", port: 0 });
console.log(`127.0.0.1:${app.server.address().port}`);
