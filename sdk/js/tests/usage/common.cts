// How it is used, as the compiler sees it: CommonJS, in Node with the package `ws`.
import ringpost = require("ringpost");
import ws = require("ws");

const push = ringpost.connect("ws://127.0.0.1:1235", { uid: "tom", WebSocket: ws.WebSocket });
push.on("message", (message: ringpost.Message<string>) => console.log(message.data.length));
push.close();
