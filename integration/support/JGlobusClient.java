import java.io.File;
import org.globus.ftp.GridFTPClient;
import org.globus.ftp.Session;

/** The Java client of the grid: HOST PORT (get REMOTE LOCAL | put LOCAL REMOTE), in stream mode, with DCAU. */
public final class JGlobusClient {
    public static void main(String[] words) throws Exception {
        GridFTPClient client = new GridFTPClient(words[0], Integer.parseInt(words[1]));
        // The proxy that -DX509_USER_PROXY names; handed on, for the data channel needs it at the server.
        client.authenticate(null);
        client.setType(Session.TYPE_IMAGE);
        client.setPassive();
        client.setLocalActive();
        if (words[2].equals("get")) {
            client.get(words[3], new File(words[4]));
        } else {
            client.put(new File(words[3]), words[4], false);
        }
        client.close();
    }
}
