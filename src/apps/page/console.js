// The console's start: its panes, and the token where the server asks for one.

import { onRefused, setToken } from "./api.js";
import { startAct } from "./act.js";
import { look as lookAtDetail, showDetail, startDetail } from "./detail.js";
import { look as lookAtGroups, startGroups } from "./groups.js";
import { look as lookAtLog, startLive } from "./live.js";
import { byId } from "./log.js";
import { look as lookAtNodes, startNodes } from "./nodes.js";
import { look as lookAtPeople, startPeople } from "./people.js";
import { startServer } from "./server.js";

const form = byId("token-form");
const input = byId("token");

onRefused((words) => {
  if (form.hidden) {
    form.hidden = false;
    input.focus();
  }
  byId("token-why").textContent = words;
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(input.value);
  input.value = "";
  form.hidden = true;
  byId("token-why").textContent = "";
  lookAtAll();
});

startServer();
startAct(() => {
  lookAtPeople();
  lookAtDetail();
});
startDetail();
startPeople((one) => (one.uid ? showDetail("uid", one.uid) : showDetail("connection", one.connection)));
startGroups((group) => showDetail("group", group));
startLive(showDetail);
startNodes();

function lookAtAll() {
  lookAtPeople();
  lookAtDetail();
  lookAtGroups();
  lookAtLog();
  lookAtNodes();
}
