// Runs once for the list of jobs: its buttons become one gradio event.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button) trigger("click", { action: button.dataset.action, job: button.dataset.job });
});
