// nodemailer's connection pool with handlebars: node send.mjs FOLDER PORT COUNT CONNECTIONS
// Templates are compiled once; as many messages are under way as there are connections.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import Handlebars from "handlebars";
import nodemailer from "nodemailer";

const [folder, port, count, connections] = process.argv.slice(2);
const read = (name) => JSON.parse(readFileSync(join(folder, name), "utf8"));

const people = read("people.json");
const sources = read("handlebars.json");
const [subject, text, html] = ["subject", "text", "html"].map((part) =>
  Handlebars.compile(sources[part], { noEscape: part !== "html" }),
);
const transport = nodemailer.createTransport({
  pool: true,
  host: "127.0.0.1",
  port: Number(port),
  secure: false,
  ignoreTLS: true,
  maxConnections: Number(connections),
  maxMessages: Infinity,
});

let next = 0;

async function sendSome() {
  while (next < Number(count)) {
    const person = people[next++ % people.length];
    await transport.sendMail({
      from: "Bench <bench@example.com>",
      to: { name: person.name, address: person.email },
      subject: subject(person.values),
      text: text(person.values),
      html: html(person.values),
      headers: {
        "List-Unsubscribe": `<${person.unsubscribe}>`,
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
      },
    });
  }
}

await Promise.all(Array.from({ length: Number(connections) }, sendSome));
transport.close();
