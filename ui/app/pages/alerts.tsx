export function AlertsPage() {
  return <div class="page"><h1>Alerts</h1></div>;
}
