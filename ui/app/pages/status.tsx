export function StatusPage() {
  return <div class="page"><h1>Status</h1></div>;
}
