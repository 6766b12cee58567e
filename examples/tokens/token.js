// Makes a token that proves a uid for an hour (auth = "hmac"): node token.js UID KEYFILE
const { createHmac } = require("node:crypto");
const [uid, file] = process.argv.slice(2);
const key = require("node:fs").readFileSync(file, "utf8").trim();
const claim = `${Buffer.from(uid).toString("base64url")}.${Math.floor(Date.now() / 1000) + 3600}`;
console.log(`${claim}.${createHmac("sha256", key).update(claim).digest("base64url")}`);
