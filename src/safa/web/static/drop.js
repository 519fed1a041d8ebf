// Runs once for the drop zone: `element` and `trigger` are gradio's. Files go straight to /upload; the page only ever
// learns the number of the draft they went into.
const size = (bytes) => (bytes < 1e6 ? `${Math.round(bytes / 1e3)} KB` : `${+(bytes / 1e6).toPrecision(3)} MB`);

function fail(sentence) {
  const problem = element.querySelector(".problem");
  problem.textContent = sentence;
  element.querySelector(".drop").classList.remove("busy");
  element.querySelector(".sending").hidden = true;
}

function post(file, draft, tell) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", `upload?name=${encodeURIComponent(file.name)}&draft=${draft}`);
    request.upload.onprogress = (event) => tell(event.loaded);
    request.onload = () => {
      try {
        resolve(JSON.parse(request.responseText));
      } catch {
        resolve({ error: "The server did not understand this upload; reload the page and try again." });
      }
    };
    request.onerror = () => resolve({ error: `${file.name} did not arrive; is the server still running?` });
    request.send(file);
  });
}

async function send(files) {
  const zone = element.querySelector(".drop");
  if (!zone || zone.classList.contains("busy") || !files.length) return;
  if (files.length > 2) return fail("Drop one clip or two pictures, not more.");
  const most = Number(zone.dataset.most);
  const heavy = files.find((file) => file.size > most);
  if (heavy) return fail(`${heavy.name} is ${size(heavy.size)}; this server takes at most ${size(most)}.`);
  const all = files.reduce((sum, file) => sum + file.size, 0) || 1;
  const sending = element.querySelector(".sending");
  element.querySelector(".problem").textContent = "";
  zone.classList.add("busy");
  sending.hidden = false;
  let [draft, sent] = ["", 0];
  for (const file of files) {
    const answer = await post(file, draft, (part) => {
      const share = Math.min(1, (sent + part) / all);
      sending.querySelector("i").style.width = `${100 * share}%`;
      sending.querySelector("b").textContent = share < 1 ? `Sending ${Math.round(100 * share)} %` : "Looking at it";
    });
    if (answer.error) return fail(answer.error);
    draft = answer.draft;
    sent += file.size;
  }
  trigger("upload", { draft });
}

element.addEventListener("click", (event) => {
  if (event.target.closest("[data-action=forget]")) trigger("click", { action: "forget" });
  else if (event.target.closest(".zone")) element.querySelector("input[type=file]").click();
});
element.addEventListener("change", (event) => {
  send([...event.target.files]);
  event.target.value = "";
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  element.addEventListener(kind, (event) => {
    event.preventDefault();
    element.querySelector(".drop")?.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") send([...event.dataTransfer.files]);
  });
}
