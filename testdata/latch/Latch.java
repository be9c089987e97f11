import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderLatchListener;
import org.apache.curator.retry.ExponentialBackoffRetry;

/** The original recipe, as the JVM versions of Chronos use it: Latch <hosts> <path> <id>. */
public class Latch {
    public static void main(String[] args) throws Exception {
        CuratorFramework curator = CuratorFrameworkFactory.newClient(args[0], 10000, 10000, new ExponentialBackoffRetry(1000, 10));
        curator.start();
        curator.blockUntilConnected();
        LeaderLatch latch = new LeaderLatch(curator, args[1], args[2], LeaderLatch.CloseMode.NOTIFY_LEADER);
        latch.addListener(new LeaderLatchListener() {
            public void isLeader() { say("leads"); }
            public void notLeader() { say("defeated"); }
        });
        latch.start();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            switch (line) {
                case "who": say("leader " + latch.getLeader().getId()); break;
                case "count": say("participants " + latch.getParticipants().size()); break;
                case "close": latch.close(); say("closed"); break;
            }
        }
        curator.close();
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
