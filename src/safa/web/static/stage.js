// Runs once for the comparison: the dividing line, and two videos kept in step.
const find = (selector) => element.querySelector(selector);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

function follow(exactly) {
  const [after, before] = [find("video.after"), find("video.before")];
  if (!after || !before) return;
  const slow = Number(after.dataset.slow);
  const wanted = after.currentTime / slow;
  before.playbackRate = 1 / slow;
  if (exactly || Math.abs(before.currentTime - wanted) > 0.08) before.currentTime = wanted;
  if (after.duration && document.activeElement !== find(".seek")) find(".seek").value = (1000 * after.currentTime) / after.duration;
  find(".clock").textContent = clock(after.currentTime);
}

element.addEventListener("input", (event) => {
  const after = find("video.after");
  if (event.target.matches(".cut")) find(".frame").style.setProperty("--cut", `${event.target.value / 10}%`);
  if (event.target.matches(".seek") && after?.duration) {
    after.pause();
    after.currentTime = (event.target.value / 1000) * after.duration;
  }
});
element.addEventListener("click", (event) => {
  const [after, view] = [find("video.after"), event.target.closest("button[data-view]")];
  if (view) find(".stage").dataset.view = view.dataset.view;
  if (event.target.closest(".play") && after) after.paused ? after.play() : after.pause();
});
// Media events do not bubble, but they can be caught on the way down.
const on = (kind, act) => element.addEventListener(kind, (event) => event.target.matches?.("video.after") && act(), true);
on("play", () => {
  find("video.before")?.play();
  find(".stage").classList.add("playing");
});
on("pause", () => {
  find("video.before")?.pause();
  find(".stage").classList.remove("playing");
  follow(true);
});
on("seeked", () => follow(true));
on("timeupdate", () => follow(false));
element.addEventListener("loadeddata", (event) => {
  const both = [...element.querySelectorAll("video")];
  if (event.target.matches?.("video") && both.every((video) => video.readyState > 1)) find(".stage").classList.add("moving");
}, true);
// A video that this browser cannot play: the stills underneath stay.
element.addEventListener("error", (event) => event.target.matches?.("video") && find(".stage")?.classList.remove("moving"), true);
