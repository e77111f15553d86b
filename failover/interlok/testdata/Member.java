import com.adaptris.failover.Broadcaster;
import com.adaptris.failover.FailoverManager;
import com.adaptris.failover.Listener;
import com.adaptris.failover.StateChangeEventListener;
import com.adaptris.failover.multicast.MulticastBroadcaster;
import com.adaptris.failover.multicast.MulticastListener;
import com.adaptris.failover.tcp.TcpBroadcaster;
import com.adaptris.failover.tcp.TcpListener;
import java.util.Properties;

/** A member of an Interlok cluster without an adapter: interlok-failover itself, which says on stdout what becomes of it. */
public class Member implements StateChangeEventListener {
  private static void say(String text) {
    System.out.println(text);
    System.out.flush();
  }

  public void promoteToPrimary() { say("primary"); }
  public void promoteSecondary(int position) { say("secondary " + position); }
  public void adapterStopped() { }

  /** The arguments are the properties, key=value. */
  public static void main(String[] args) throws Exception {
    Properties properties = new Properties();
    for (String arg : args) {
      properties.setProperty(arg.substring(0, arg.indexOf('=')), arg.substring(arg.indexOf('=') + 1));
    }
    boolean tcp = "tcp".equals(properties.getProperty("failover.socket.mode"));
    Broadcaster broadcaster = tcp ? new TcpBroadcaster(properties) : new MulticastBroadcaster(properties);
    Listener listener = tcp ? new TcpListener(properties) : new MulticastListener(properties);
    if (properties.containsKey("failover.ping.interval.seconds")) {
      broadcaster.setSendDelaySeconds(Integer.parseInt(properties.getProperty("failover.ping.interval.seconds")));
    }
    FailoverManager manager = new FailoverManager(properties.getProperty("failover.tcp.host"),
        properties.getProperty("failover.tcp.port", "0"), listener, broadcaster,
        Boolean.parseBoolean(properties.getProperty("primary")), Integer.parseInt(properties.getProperty("failover.secondary.position", "0")));
    if (properties.containsKey("failover.instance.timeout.seconds")) {
      manager.setInstanceTimeoutSeconds(Integer.parseInt(properties.getProperty("failover.instance.timeout.seconds")));
    }
    manager.registerListener(new Member());
    Runtime.getRuntime().addShutdownHook(new Thread(() -> say("exit")));
    say("listening");
    manager.start();
    say("started");
    int position = -1;
    while (true) {
      Thread.sleep(100);
      int now = manager.getMyInstance().getSecondaryNumber();
      if (now != position) {
        position = now;
        say("position " + position);
      }
    }
  }
}
