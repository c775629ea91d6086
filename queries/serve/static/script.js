// Small helps for pages that work without them: "/" goes to the search, Ctrl-Enter runs SQL, the footer copies the address.
"use strict";
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById("search").select();
  }
  if (event.key === "Escape" && typing) event.target.blur();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "q") event.target.form.requestSubmit();
});
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", () => {
    navigator.clipboard.writeText(location.href).then(
      () => { button.textContent = "Copied"; },
      () => { button.textContent = "Not copied: " + location.href; },
    );
  });
}
